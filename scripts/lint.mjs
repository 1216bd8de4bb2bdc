// A rule of oxlint that it lacks itself.
const message = "write `#name`: what is private is so when the program runs, too (a constructor alone takes `private`)";

const privateNames = {
  create: (context) => {
    const member = (node) => {
      if (node.accessibility === "private" && node.kind !== "constructor") context.report({ node, message });
    };
    return { PropertyDefinition: member, MethodDefinition: member };
  },
};

export default { meta: { name: "moec" }, rules: { "private-names": privateNames } };
