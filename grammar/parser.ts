// The grammar of GRAMMAR.md and nothing else: no actions, no precedence (compiler/syntax resolves operators). One declaration is parsed at a time.
// Recovery is in compiler/syntax/recover.ts: it removes the faulty statement and parses the declaration again, so that each reported error is the
// first of its statement and not a consequence of another.
import {
  type CstNode,
  CstParser,
  type IParserErrorMessageProvider,
  type IToken,
  type ParserMethod,
  type TokenType,
  tokenLabel,
  tokenMatcher,
} from "chevrotain";
import * as t from "./tokens.ts";

const shown = (token: IToken): string =>
  token.image === "" ? "the end" : token.tokenType === t.Hole ? "a hole" : `\`${token.image}\``;
/** What a rule is called after "expected ...", where several tokens would be possible. */
const ruleLabels: Readonly<Record<string, string>> = {
  declaration: "`import`, `layer`, `model`, `fn` or `optimizer`",
  layer: "`{` or `=`",
  member: "`param`, `state`, a layer's name or a method",
  memberIf: "`{` or `if`",
  typeTerm: "a type",
  tensors: "a type",
  tensor: "a type",
  statement: "a statement",
  letting: "a name",
  returning: "an expression",
  branch: "`{` or `if`",
  primary: "an expression",
  item: "an expression",
  indexItem: "an index",
};
/** What the elements of a list are called, by the rule of the list. */
const itemLabels: Readonly<Record<string, string>> = {
  header: "a name",
  args: "an argument",
  index: "an index",
  list: "an expression",
  axes: "a size",
  types: "a type",
  tensors: "a type",
  names: "a name",
  pattern: "a name",
};

function expected(token: TokenType, rule: string, fresh: boolean): string {
  if (token === t.RCurly && rule === "block") return "a statement or `}`";
  if (token === t.RCurly && rule === "body") return "`param`, `state`, a layer, a method or `}`";
  const closes = token === t.RPar || token === t.RSquare || token === t.RCurly;
  const item = itemLabels[rule];
  return `${closes && item ? `${fresh ? item : "`,`"} or ` : ""}${tokenLabel(token)}`;
}
const messages: IParserErrorMessageProvider = {
  buildMismatchTokenMessage: ({ expected: token, actual, previous, ruleName }) =>
    `expected ${expected(token, ruleName, [t.Comma, t.LPar, t.LSquare, t.LCurly].includes(previous.tokenType))}, found ${shown(actual)}`,
  buildNotAllInputParsedMessage: ({ firstRedundant }) =>
    `expected \`import\`, \`layer\`, \`model\`, \`fn\` or \`optimizer\`, found ${shown(firstRedundant)}`,
  buildNoViableAltMessage: ({ actual: [first, second], ruleName }) => {
    if (ruleName === "member" && first && second && tokenMatcher(first, t.Name)) {
      return `expected \`:\` or \`(\` after ${shown(first)}, found ${shown(second)}`;
    }
    return `expected ${ruleLabels[ruleName] ?? ruleName}, found ${first ? shown(first) : "the end"}`;
  },
  buildEarlyExitMessage: ({ actual, ruleName }) =>
    `expected ${ruleLabels[ruleName] ?? ruleName}, found ${actual[0] ? shown(actual[0]) : "the end"}`,
};

export class MoeParser extends CstParser {
  /** `item, item, item`, with an optional trailing comma. At most once in a rule, because chevrotain tells calls in a rule apart by their numbers. */
  #separated(item: ParserMethod<[], CstNode>): void {
    this.SUBRULE(item);
    this.MANY9(() => {
      this.CONSUME8(t.Comma);
      this.SUBRULE2(item);
    });
    this.OPTION9(() => this.CONSUME9(t.Comma));
  }
  name = this.RULE("name", () => {
    this.CONSUME(t.Name);
  });

  declaration = this.RULE("declaration", () => {
    this.OR([
      { ALT: () => this.SUBRULE(this.importing) },
      { ALT: () => this.SUBRULE(this.layer) },
      { ALT: () => this.SUBRULE(this.fn) },
      { ALT: () => this.SUBRULE(this.optimizer) },
    ]);
  });

  importing = this.RULE("importing", () => {
    this.CONSUME(t.Import);
    this.SUBRULE(this.names);
    this.CONSUME(t.From);
    this.CONSUME(t.Str);
  });
  names = this.RULE("names", () => {
    this.CONSUME(t.LCurly);
    this.#separated(this.name);
    this.CONSUME(t.RCurly);
  });
  layer = this.RULE("layer", () => {
    this.OR([{ ALT: () => this.CONSUME(t.LayerWord) }, { ALT: () => this.CONSUME(t.ModelWord) }]);
    this.CONSUME(t.Name);
    this.SUBRULE(this.header);
    this.OR2([
      {
        ALT: () => {
          this.CONSUME(t.Eq);
          this.SUBRULE(this.expression);
          this.OPTION(() => this.SUBRULE2(this.body));
        },
      },
      { ALT: () => this.SUBRULE(this.body) },
    ]);
  });
  fn = this.RULE("fn", () => {
    this.CONSUME(t.Fn);
    this.CONSUME(t.Name);
    this.SUBRULE(this.header);
    this.CONSUME(t.Arrow);
    this.SUBRULE(this.tensors);
    this.SUBRULE(this.block);
  });
  optimizer = this.RULE("optimizer", () => {
    this.CONSUME(t.OptimizerWord);
    this.CONSUME(t.Name);
    this.SUBRULE(this.header);
    this.SUBRULE(this.body);
  });

  header = this.RULE("header", () => {
    this.CONSUME(t.LPar);
    this.OPTION(() => this.#separated(this.entry));
    this.CONSUME(t.RPar);
  });
  entry = this.RULE("entry", () => {
    this.OPTION(() => this.CONSUME(t.Dots));
    this.CONSUME(t.Name);
    this.OPTION2(() => {
      this.CONSUME(t.Colon);
      this.SUBRULE(this.type);
    });
    this.OPTION3(() => {
      this.CONSUME(t.Eq);
      this.SUBRULE(this.expression);
    });
  });

  type = this.RULE("type", () => {
    this.SUBRULE(this.typeTerm);
    this.OPTION(() => {
      this.CONSUME(t.Arrow);
      this.SUBRULE2(this.typeTerm, { LABEL: "result" });
    });
  });
  typeTerm = this.RULE("typeTerm", () => {
    this.OR([{ ALT: () => this.SUBRULE(this.tensor) }, { ALT: () => this.SUBRULE(this.types) }]);
  });
  types = this.RULE("types", () => {
    this.CONSUME(t.LPar);
    this.#separated(this.type);
    this.CONSUME(t.RPar);
    this.OPTION2(() => {
      this.CONSUME(t.LSquare);
      this.SUBRULE(this.expression);
      this.CONSUME(t.RSquare);
    });
  });
  tensors = this.RULE("tensors", () => {
    this.OR([
      { ALT: () => this.SUBRULE3(this.tensor) },
      {
        ALT: () => {
          this.CONSUME(t.LPar);
          this.#separated(this.tensor);
          this.CONSUME(t.RPar);
        },
      },
    ]);
  });
  tensor = this.RULE("tensor", () => {
    this.OR([{ ALT: () => this.CONSUME(t.Name) }, { ALT: () => this.CONSUME(t.Hole) }]);
    this.OPTION(() => this.SUBRULE(this.axes));
  });
  axes = this.RULE("axes", () => {
    this.CONSUME(t.LSquare);
    this.#separated(this.item);
    this.CONSUME(t.RSquare);
  });

  body = this.RULE("body", () => {
    this.CONSUME(t.LCurly);
    this.MANY(() => this.SUBRULE(this.member));
    this.CONSUME(t.RCurly);
  });
  member = this.RULE("member", () => {
    this.OR([
      { ALT: () => this.SUBRULE(this.memberIf) },
      { ALT: () => this.SUBRULE(this.method) },
      { ALT: () => this.SUBRULE(this.sublayer) },
      { ALT: () => this.SUBRULE(this.variable) },
    ]);
  });
  memberIf = this.RULE("memberIf", () => {
    this.CONSUME(t.If);
    this.SUBRULE(this.expression);
    this.SUBRULE(this.body);
    this.OPTION(() => {
      this.CONSUME(t.Else);
      this.OR([{ ALT: () => this.SUBRULE(this.memberIf) }, { ALT: () => this.SUBRULE2(this.body, { LABEL: "else" }) }]);
    });
  });
  method = this.RULE("method", () => {
    this.CONSUME(t.Name);
    this.SUBRULE(this.header);
    this.OPTION(() => {
      this.CONSUME(t.Arrow);
      this.SUBRULE(this.tensors);
    });
    this.SUBRULE(this.block);
  });
  sublayer = this.RULE("sublayer", () => {
    this.CONSUME(t.Name);
    this.CONSUME(t.Colon);
    this.SUBRULE(this.expression);
  });
  /** `param` is allowed for members only; in a method the next stage reports it. */
  variable = this.RULE("variable", () => {
    this.OR([{ ALT: () => this.CONSUME(t.ParamWord) }, { ALT: () => this.CONSUME(t.StateWord) }]);
    this.CONSUME(t.Name);
    this.CONSUME(t.Colon);
    this.SUBRULE(this.tensor);
    this.CONSUME(t.Eq);
    this.SUBRULE(this.expression);
  });

  block = this.RULE("block", () => {
    this.CONSUME(t.LCurly);
    this.MANY(() => this.SUBRULE(this.statement));
    this.CONSUME(t.RCurly);
  });
  statement = this.RULE("statement", () => {
    this.OR([
      { ALT: () => this.SUBRULE(this.letting) },
      { ALT: () => this.SUBRULE(this.returning) },
      { ALT: () => this.SUBRULE(this.branch) },
      { ALT: () => this.SUBRULE(this.loop) },
      { ALT: () => this.SUBRULE(this.variable) },
      { ALT: () => this.SUBRULE(this.report) },
      { ALT: () => this.SUBRULE(this.optimize) },
      { ALT: () => this.SUBRULE(this.setting) },
      { ALT: () => this.SUBRULE(this.expression) },
    ]);
  });
  letting = this.RULE("letting", () => {
    this.CONSUME(t.Let);
    this.OR([{ ALT: () => this.CONSUME(t.Name) }, { ALT: () => this.SUBRULE(this.pattern) }]);
    this.OPTION(() => {
      this.CONSUME(t.Colon);
      this.SUBRULE(this.tensor);
    });
    this.CONSUME(t.Eq);
    this.SUBRULE(this.expression);
  });
  pattern = this.RULE("pattern", () => {
    this.CONSUME(t.LPar);
    this.#separated(this.name);
    this.CONSUME(t.RPar);
  });
  returning = this.RULE("returning", () => {
    this.CONSUME(t.Return);
    this.AT_LEAST_ONE_SEP({ SEP: t.Comma, DEF: () => this.SUBRULE(this.expression) });
  });
  branch = this.RULE("branch", () => {
    this.CONSUME(t.If);
    this.SUBRULE(this.expression);
    this.SUBRULE(this.block);
    this.OPTION(() => {
      this.CONSUME(t.Else);
      this.OR([{ ALT: () => this.SUBRULE(this.branch) }, { ALT: () => this.SUBRULE2(this.block, { LABEL: "else" }) }]);
    });
  });
  loop = this.RULE("loop", () => {
    this.CONSUME(t.For);
    this.CONSUME(t.Name);
    this.OPTION(() => {
      this.CONSUME(t.Comma);
      this.CONSUME2(t.Name, { LABEL: "index" });
    });
    this.CONSUME(t.In);
    this.SUBRULE(this.expression);
    this.OPTION2(() => {
      this.CONSUME(t.Colon);
      this.SUBRULE2(this.expression, { LABEL: "to" });
    });
    this.SUBRULE(this.block);
  });
  report = this.RULE("report", () => {
    this.OR([
      { ALT: () => this.CONSUME(t.Loss) },
      { ALT: () => this.CONSUME(t.Metric) },
      { ALT: () => this.CONSUME(t.Update) },
    ]);
    this.CONSUME(t.Name);
    this.CONSUME(t.Eq);
    this.SUBRULE(this.expression);
  });
  optimize = this.RULE("optimize", () => {
    this.CONSUME(t.Optimize);
    this.MANY_SEP({ SEP: t.Comma, DEF: () => this.SUBRULE(this.selector) });
    this.CONSUME(t.With);
    this.SUBRULE(this.expression);
  });
  selector = this.RULE("selector", () => {
    this.CONSUME(t.Name);
    this.MANY(() => {
      this.CONSUME(t.Dot);
      this.CONSUME(t.Word);
    });
  });
  setting = this.RULE("setting", () => {
    this.CONSUME(t.Name);
    this.CONSUME(t.Eq);
    this.SUBRULE(this.expression);
  });

  expression = this.RULE("expression", () => {
    this.SUBRULE(this.operand);
    this.MANY(() => {
      this.CONSUME(t.Binary);
      this.SUBRULE2(this.operand);
    });
  });
  operand = this.RULE("operand", () => {
    this.MANY(() => this.CONSUME(t.Prefix));
    this.SUBRULE(this.primary);
    this.MANY2(() => this.SUBRULE(this.postfix));
  });
  primary = this.RULE("primary", () => {
    this.OR([
      { ALT: () => this.CONSUME(t.Num) },
      { ALT: () => this.CONSUME(t.True) },
      { ALT: () => this.CONSUME(t.False) },
      { ALT: () => this.CONSUME(t.Name) },
      { ALT: () => this.CONSUME(t.Hole) },
      {
        ALT: () => {
          this.CONSUME(t.LPar);
          this.SUBRULE(this.expression);
          this.CONSUME(t.RPar);
        },
      },
      { ALT: () => this.SUBRULE(this.list) },
    ]);
  });
  postfix = this.RULE("postfix", () => {
    this.OR([
      { ALT: () => this.SUBRULE(this.args) },
      { ALT: () => this.SUBRULE(this.index) },
      {
        ALT: () => {
          this.CONSUME(t.Dot);
          this.CONSUME(t.Word);
        },
      },
    ]);
  });
  args = this.RULE("args", () => {
    this.CONSUME(t.LPar);
    this.OPTION(() => this.#separated(this.arg));
    this.CONSUME(t.RPar);
  });
  arg = this.RULE("arg", () => {
    this.OPTION(() => {
      this.CONSUME(t.Word);
      this.CONSUME(t.Colon);
    });
    this.SUBRULE(this.expression);
  });
  list = this.RULE("list", () => {
    this.CONSUME(t.LSquare);
    this.OPTION(() => this.#separated(this.item));
    this.CONSUME(t.RSquare);
  });
  item = this.RULE("item", () => {
    this.OR([
      {
        ALT: () => {
          this.CONSUME(t.Dots);
          this.CONSUME(t.Name);
        },
      },
      { ALT: () => this.SUBRULE(this.expression) },
    ]);
  });
  index = this.RULE("index", () => {
    this.CONSUME(t.LSquare);
    this.#separated(this.indexItem);
    this.CONSUME(t.RSquare);
  });
  indexItem = this.RULE("indexItem", () => {
    this.OR([
      { ALT: () => this.CONSUME(t.Dots) },
      { ALT: () => this.CONSUME(t.New) },
      {
        ALT: () => {
          this.CONSUME(t.Colon);
          this.OPTION(() => this.SUBRULE(this.expression, { LABEL: "to" }));
        },
      },
      {
        ALT: () => {
          this.SUBRULE2(this.expression, { LABEL: "from" });
          this.OPTION2(() => {
            this.CONSUME2(t.Colon);
            this.OPTION3(() => this.SUBRULE3(this.expression, { LABEL: "to" }));
          });
        },
      },
    ]);
  });

  /** `validated`: lets chevrotain check the grammar; throws if it is ambiguous or left-recursive. */
  constructor(validated = false) {
    super(t.tokens, {
      nodeLocationTracking: "onlyOffset",
      maxLookahead: 2,
      errorMessageProvider: messages,
      skipValidations: !validated,
    });
    this.performSelfAnalysis();
  }
}

let made: MoeParser | undefined;
/** Made on first use, because that takes a while. */
export const parser = (): MoeParser => (made ??= new MoeParser());
