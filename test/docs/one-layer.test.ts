import { suite } from "uvu";
import { oneLayer } from "../../scripts/one-layer.ts";
import { golden } from "../golden.ts";

const test = suite("one layer");
test("examples/one-layer.md is what the compiler prints", () => golden("../../examples/one-layer.md", oneLayer()));
test.run();
