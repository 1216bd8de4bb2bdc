// The language server: LSP's requests on stdin, its answers on stdout.
import {
  type Connection,
  createConnection,
  DidChangeWatchedFilesNotification,
  type InitializeParams,
  type InitializeResult,
  ProposedFeatures,
  type TextDocumentIdentifier,
  type TextDocumentPositionParams,
  TextDocumentSyncKind,
  TextDocuments,
} from "vscode-languageserver/node";
import { TextDocument } from "vscode-languageserver-textdocument";
import { compilerVersion } from "../../compiler/assets.ts";
import type { Source } from "../../compiler/syntax/ast.ts";
import { completion, definition, formatting, hover, symbols } from "./answers.ts";
import { type Guard, Publisher } from "./publisher.ts";
import { linesOf, Workspace } from "./workspace.ts";

/** Serves until the editor says `exit` or closes stdin. */
export function serve(): void {
  const connection = createConnection(ProposedFeatures.all, process.stdin, process.stdout);
  const documents = new TextDocuments(TextDocument);
  const workspace = new Workspace();
  const guard = guardOf(connection);
  const publisher = new Publisher(connection, workspace, guard);
  documents.onDidChangeContent(({ document }) => {
    workspace.put(document.uri, document.getText());
    publisher.restart();
  });
  documents.onDidClose(({ document }) => {
    workspace.close(document.uri);
    publisher.restart();
  });
  connection.onDidChangeWatchedFiles(() => {
    workspace.filesChanged();
    publisher.restart();
  });
  connection.onInitialize((params) => initialize(connection, params));
  answerRequests(connection, workspace, guard);
  documents.listen(connection);
  connection.listen();
}

function initialize(connection: Connection, { capabilities: { workspace } }: InitializeParams): InitializeResult {
  if (workspace?.didChangeWatchedFiles?.dynamicRegistration) connection.onInitialized(() => watchFiles(connection));
  return {
    serverInfo: { name: "moec", version: compilerVersion },
    capabilities: {
      textDocumentSync: TextDocumentSyncKind.Incremental,
      hoverProvider: true,
      definitionProvider: true,
      documentSymbolProvider: true,
      documentFormattingProvider: true,
      completionProvider: { triggerCharacters: ["."] },
    },
  };
}

/** Asks to be told of files that other programs change: open ones may import them. The connection logs a refusal. */
const watchFiles = ({ client }: Connection): void =>
  void client
    .register(DidChangeWatchedFilesNotification.type, { watchers: [{ globPattern: "**/*.moe" }] })
    .catch(() => {});

/** A defect that a half-typed text brings to light neither ends the server nor disturbs who types: it is logged. */
export const guardOf =
  ({ console }: { readonly console: { error(text: string): unknown } }): Guard =>
  (run, otherwise) => {
    try {
      return run();
    } catch (error) {
      console.error(error instanceof Error ? (error.stack ?? error.message) : String(error));
      return otherwise;
    }
  };

function answerRequests(connection: Connection, workspace: Workspace, guard: Guard): void {
  const about =
    <R>(answer: (workspace: Workspace, source: Source) => R) =>
    ({ textDocument: { uri } }: { readonly textDocument: TextDocumentIdentifier }): R | null =>
      guard(() => {
        const source = workspace.sourceOf(uri);
        return source ? answer(workspace, source) : null;
      }, null);
  const at =
    <R>(answer: (workspace: Workspace, source: Source, offset: number) => R) =>
    ({ textDocument, position }: TextDocumentPositionParams): R | null =>
      about((_, source) => answer(workspace, source, linesOf(source).offsetAt(position)))({ textDocument });
  connection.onHover(at(hover));
  connection.onDefinition(at(definition));
  connection.onCompletion(at(completion));
  connection.onDocumentSymbol(about(symbols));
  connection.onDocumentFormatting(about(formatting));
}
