// Written by `npm run generate` from grammar/parser.ts. Do not edit.
import type { CstNode, ICstVisitor, IToken } from "chevrotain";

export interface NameCstNode extends CstNode {
  name: "name";
  children: NameCstChildren;
}

export type NameCstChildren = {
  Name: IToken[];
};

export interface DeclarationCstNode extends CstNode {
  name: "declaration";
  children: DeclarationCstChildren;
}

export type DeclarationCstChildren = {
  importing?: ImportingCstNode[];
  layer?: LayerCstNode[];
  fn?: FnCstNode[];
  optimizer?: OptimizerCstNode[];
};

export interface ImportingCstNode extends CstNode {
  name: "importing";
  children: ImportingCstChildren;
}

export type ImportingCstChildren = {
  Import: IToken[];
  names: NamesCstNode[];
  From: IToken[];
  Str: IToken[];
};

export interface NamesCstNode extends CstNode {
  name: "names";
  children: NamesCstChildren;
}

export type NamesCstChildren = {
  LCurly: IToken[];
  name: (NameCstNode)[];
  Comma?: (IToken)[];
  RCurly: IToken[];
};

export interface LayerCstNode extends CstNode {
  name: "layer";
  children: LayerCstChildren;
}

export type LayerCstChildren = {
  Layer?: IToken[];
  Model?: IToken[];
  Name: IToken[];
  header: HeaderCstNode[];
  Eq?: IToken[];
  expression?: ExpressionCstNode[];
  body?: (BodyCstNode)[];
};

export interface FnCstNode extends CstNode {
  name: "fn";
  children: FnCstChildren;
}

export type FnCstChildren = {
  Fn: IToken[];
  Name: IToken[];
  header: HeaderCstNode[];
  Arrow: IToken[];
  tensors: TensorsCstNode[];
  block: BlockCstNode[];
};

export interface OptimizerCstNode extends CstNode {
  name: "optimizer";
  children: OptimizerCstChildren;
}

export type OptimizerCstChildren = {
  Optimizer: IToken[];
  Name: IToken[];
  header: HeaderCstNode[];
  body: BodyCstNode[];
};

export interface HeaderCstNode extends CstNode {
  name: "header";
  children: HeaderCstChildren;
}

export type HeaderCstChildren = {
  LPar: IToken[];
  entry?: (EntryCstNode)[];
  Comma?: (IToken)[];
  RPar: IToken[];
};

export interface EntryCstNode extends CstNode {
  name: "entry";
  children: EntryCstChildren;
}

export type EntryCstChildren = {
  Dots?: IToken[];
  Name: IToken[];
  Colon?: IToken[];
  type?: TypeCstNode[];
  Eq?: IToken[];
  expression?: ExpressionCstNode[];
};

export interface TypeCstNode extends CstNode {
  name: "type";
  children: TypeCstChildren;
}

export type TypeCstChildren = {
  typeTerm: TypeTermCstNode[];
  Arrow?: IToken[];
  result?: TypeTermCstNode[];
};

export interface TypeTermCstNode extends CstNode {
  name: "typeTerm";
  children: TypeTermCstChildren;
}

export type TypeTermCstChildren = {
  tensor?: TensorCstNode[];
  types?: TypesCstNode[];
};

export interface TypesCstNode extends CstNode {
  name: "types";
  children: TypesCstChildren;
}

export type TypesCstChildren = {
  LPar: IToken[];
  type: (TypeCstNode)[];
  Comma?: (IToken)[];
  RPar: IToken[];
  LSquare?: IToken[];
  expression?: ExpressionCstNode[];
  RSquare?: IToken[];
};

export interface TensorsCstNode extends CstNode {
  name: "tensors";
  children: TensorsCstChildren;
}

export type TensorsCstChildren = {
  tensor?: (TensorCstNode)[];
  LPar?: IToken[];
  Comma?: (IToken)[];
  RPar?: IToken[];
};

export interface TensorCstNode extends CstNode {
  name: "tensor";
  children: TensorCstChildren;
}

export type TensorCstChildren = {
  Name?: IToken[];
  Hole?: IToken[];
  axes?: AxesCstNode[];
};

export interface AxesCstNode extends CstNode {
  name: "axes";
  children: AxesCstChildren;
}

export type AxesCstChildren = {
  LSquare: IToken[];
  item: (ItemCstNode)[];
  Comma?: (IToken)[];
  RSquare: IToken[];
};

export interface BodyCstNode extends CstNode {
  name: "body";
  children: BodyCstChildren;
}

export type BodyCstChildren = {
  LCurly: IToken[];
  member?: MemberCstNode[];
  RCurly: IToken[];
};

export interface MemberCstNode extends CstNode {
  name: "member";
  children: MemberCstChildren;
}

export type MemberCstChildren = {
  memberIf?: MemberIfCstNode[];
  method?: MethodCstNode[];
  sublayer?: SublayerCstNode[];
  variable?: VariableCstNode[];
};

export interface MemberIfCstNode extends CstNode {
  name: "memberIf";
  children: MemberIfCstChildren;
}

export type MemberIfCstChildren = {
  If: IToken[];
  expression: ExpressionCstNode[];
  body: BodyCstNode[];
  Else?: IToken[];
  memberIf?: MemberIfCstNode[];
  else?: BodyCstNode[];
};

export interface MethodCstNode extends CstNode {
  name: "method";
  children: MethodCstChildren;
}

export type MethodCstChildren = {
  Name: IToken[];
  header: HeaderCstNode[];
  Arrow?: IToken[];
  tensors?: TensorsCstNode[];
  block: BlockCstNode[];
};

export interface SublayerCstNode extends CstNode {
  name: "sublayer";
  children: SublayerCstChildren;
}

export type SublayerCstChildren = {
  Name: IToken[];
  Colon: IToken[];
  expression: ExpressionCstNode[];
};

export interface VariableCstNode extends CstNode {
  name: "variable";
  children: VariableCstChildren;
}

export type VariableCstChildren = {
  Param?: IToken[];
  State?: IToken[];
  Name: IToken[];
  Colon: IToken[];
  tensor: TensorCstNode[];
  Eq: IToken[];
  expression: ExpressionCstNode[];
};

export interface BlockCstNode extends CstNode {
  name: "block";
  children: BlockCstChildren;
}

export type BlockCstChildren = {
  LCurly: IToken[];
  statement?: StatementCstNode[];
  RCurly: IToken[];
};

export interface StatementCstNode extends CstNode {
  name: "statement";
  children: StatementCstChildren;
}

export type StatementCstChildren = {
  letting?: LettingCstNode[];
  returning?: ReturningCstNode[];
  branch?: BranchCstNode[];
  loop?: LoopCstNode[];
  variable?: VariableCstNode[];
  report?: ReportCstNode[];
  optimize?: OptimizeCstNode[];
  setting?: SettingCstNode[];
  expression?: ExpressionCstNode[];
};

export interface LettingCstNode extends CstNode {
  name: "letting";
  children: LettingCstChildren;
}

export type LettingCstChildren = {
  Let: IToken[];
  Name?: IToken[];
  pattern?: PatternCstNode[];
  Colon?: IToken[];
  tensor?: TensorCstNode[];
  Eq: IToken[];
  expression: ExpressionCstNode[];
};

export interface PatternCstNode extends CstNode {
  name: "pattern";
  children: PatternCstChildren;
}

export type PatternCstChildren = {
  LPar: IToken[];
  name: (NameCstNode)[];
  Comma?: (IToken)[];
  RPar: IToken[];
};

export interface ReturningCstNode extends CstNode {
  name: "returning";
  children: ReturningCstChildren;
}

export type ReturningCstChildren = {
  Return: IToken[];
  expression: ExpressionCstNode[];
  Comma?: IToken[];
};

export interface BranchCstNode extends CstNode {
  name: "branch";
  children: BranchCstChildren;
}

export type BranchCstChildren = {
  If: IToken[];
  expression: ExpressionCstNode[];
  block: BlockCstNode[];
  Else?: IToken[];
  branch?: BranchCstNode[];
  else?: BlockCstNode[];
};

export interface LoopCstNode extends CstNode {
  name: "loop";
  children: LoopCstChildren;
}

export type LoopCstChildren = {
  For: IToken[];
  Name: IToken[];
  Comma?: IToken[];
  index?: IToken[];
  In: IToken[];
  expression: ExpressionCstNode[];
  Colon?: IToken[];
  to?: ExpressionCstNode[];
  block: BlockCstNode[];
};

export interface ReportCstNode extends CstNode {
  name: "report";
  children: ReportCstChildren;
}

export type ReportCstChildren = {
  Loss?: IToken[];
  Metric?: IToken[];
  Update?: IToken[];
  Name: IToken[];
  Eq: IToken[];
  expression: ExpressionCstNode[];
};

export interface OptimizeCstNode extends CstNode {
  name: "optimize";
  children: OptimizeCstChildren;
}

export type OptimizeCstChildren = {
  Optimize: IToken[];
  selector?: SelectorCstNode[];
  Comma?: IToken[];
  With: IToken[];
  expression: ExpressionCstNode[];
};

export interface SelectorCstNode extends CstNode {
  name: "selector";
  children: SelectorCstChildren;
}

export type SelectorCstChildren = {
  Name: IToken[];
  Dot?: IToken[];
  Word?: IToken[];
};

export interface SettingCstNode extends CstNode {
  name: "setting";
  children: SettingCstChildren;
}

export type SettingCstChildren = {
  Name: IToken[];
  Eq: IToken[];
  expression: ExpressionCstNode[];
};

export interface ExpressionCstNode extends CstNode {
  name: "expression";
  children: ExpressionCstChildren;
}

export type ExpressionCstChildren = {
  operand: (OperandCstNode)[];
  Binary?: IToken[];
};

export interface OperandCstNode extends CstNode {
  name: "operand";
  children: OperandCstChildren;
}

export type OperandCstChildren = {
  Prefix?: IToken[];
  primary: PrimaryCstNode[];
  postfix?: PostfixCstNode[];
};

export interface PrimaryCstNode extends CstNode {
  name: "primary";
  children: PrimaryCstChildren;
}

export type PrimaryCstChildren = {
  Num?: IToken[];
  True?: IToken[];
  False?: IToken[];
  Name?: IToken[];
  Hole?: IToken[];
  LPar?: IToken[];
  expression?: ExpressionCstNode[];
  RPar?: IToken[];
  list?: ListCstNode[];
};

export interface PostfixCstNode extends CstNode {
  name: "postfix";
  children: PostfixCstChildren;
}

export type PostfixCstChildren = {
  args?: ArgsCstNode[];
  index?: IndexCstNode[];
  Dot?: IToken[];
  Word?: IToken[];
};

export interface ArgsCstNode extends CstNode {
  name: "args";
  children: ArgsCstChildren;
}

export type ArgsCstChildren = {
  LPar: IToken[];
  arg?: (ArgCstNode)[];
  Comma?: (IToken)[];
  RPar: IToken[];
};

export interface ArgCstNode extends CstNode {
  name: "arg";
  children: ArgCstChildren;
}

export type ArgCstChildren = {
  Word?: IToken[];
  Colon?: IToken[];
  expression: ExpressionCstNode[];
};

export interface ListCstNode extends CstNode {
  name: "list";
  children: ListCstChildren;
}

export type ListCstChildren = {
  LSquare: IToken[];
  item?: (ItemCstNode)[];
  Comma?: (IToken)[];
  RSquare: IToken[];
};

export interface ItemCstNode extends CstNode {
  name: "item";
  children: ItemCstChildren;
}

export type ItemCstChildren = {
  Dots?: IToken[];
  Name?: IToken[];
  expression?: ExpressionCstNode[];
};

export interface IndexCstNode extends CstNode {
  name: "index";
  children: IndexCstChildren;
}

export type IndexCstChildren = {
  LSquare: IToken[];
  indexItem: (IndexItemCstNode)[];
  Comma?: (IToken)[];
  RSquare: IToken[];
};

export interface IndexItemCstNode extends CstNode {
  name: "indexItem";
  children: IndexItemCstChildren;
}

export type IndexItemCstChildren = {
  Dots?: IToken[];
  New?: IToken[];
  Colon?: (IToken)[];
  to?: (ExpressionCstNode)[];
  from?: ExpressionCstNode[];
};

export interface MoeVisitor<IN, OUT> extends ICstVisitor<IN, OUT> {
  name(children: NameCstChildren, param?: IN): OUT;
  declaration(children: DeclarationCstChildren, param?: IN): OUT;
  importing(children: ImportingCstChildren, param?: IN): OUT;
  names(children: NamesCstChildren, param?: IN): OUT;
  layer(children: LayerCstChildren, param?: IN): OUT;
  fn(children: FnCstChildren, param?: IN): OUT;
  optimizer(children: OptimizerCstChildren, param?: IN): OUT;
  header(children: HeaderCstChildren, param?: IN): OUT;
  entry(children: EntryCstChildren, param?: IN): OUT;
  type(children: TypeCstChildren, param?: IN): OUT;
  typeTerm(children: TypeTermCstChildren, param?: IN): OUT;
  types(children: TypesCstChildren, param?: IN): OUT;
  tensors(children: TensorsCstChildren, param?: IN): OUT;
  tensor(children: TensorCstChildren, param?: IN): OUT;
  axes(children: AxesCstChildren, param?: IN): OUT;
  body(children: BodyCstChildren, param?: IN): OUT;
  member(children: MemberCstChildren, param?: IN): OUT;
  memberIf(children: MemberIfCstChildren, param?: IN): OUT;
  method(children: MethodCstChildren, param?: IN): OUT;
  sublayer(children: SublayerCstChildren, param?: IN): OUT;
  variable(children: VariableCstChildren, param?: IN): OUT;
  block(children: BlockCstChildren, param?: IN): OUT;
  statement(children: StatementCstChildren, param?: IN): OUT;
  letting(children: LettingCstChildren, param?: IN): OUT;
  pattern(children: PatternCstChildren, param?: IN): OUT;
  returning(children: ReturningCstChildren, param?: IN): OUT;
  branch(children: BranchCstChildren, param?: IN): OUT;
  loop(children: LoopCstChildren, param?: IN): OUT;
  report(children: ReportCstChildren, param?: IN): OUT;
  optimize(children: OptimizeCstChildren, param?: IN): OUT;
  selector(children: SelectorCstChildren, param?: IN): OUT;
  setting(children: SettingCstChildren, param?: IN): OUT;
  expression(children: ExpressionCstChildren, param?: IN): OUT;
  operand(children: OperandCstChildren, param?: IN): OUT;
  primary(children: PrimaryCstChildren, param?: IN): OUT;
  postfix(children: PostfixCstChildren, param?: IN): OUT;
  args(children: ArgsCstChildren, param?: IN): OUT;
  arg(children: ArgCstChildren, param?: IN): OUT;
  list(children: ListCstChildren, param?: IN): OUT;
  item(children: ItemCstChildren, param?: IN): OUT;
  index(children: IndexCstChildren, param?: IN): OUT;
  indexItem(children: IndexItemCstChildren, param?: IN): OUT;
}
