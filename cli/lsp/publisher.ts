// Checks the open texts some time after a change, and shows their errors.
import type { Connection, Diagnostic } from "vscode-languageserver/node";
import type { Workspace } from "./workspace.ts";

export type Guard = <T>(run: () => T, otherwise: T) => T;

/** How many milliseconds after a change types are checked; how many later, if nothing has changed, training steps are elaborated. */
const [pause, longPause] = [100, 1000];

export class Publisher {
  readonly #connection: Connection;
  readonly #workspace: Workspace;
  readonly #guard: Guard;
  #timer: NodeJS.Timeout | undefined;
  /** The documents that errors are shown in. */
  #shown: readonly string[] = [];

  constructor(connection: Connection, workspace: Workspace, guard: Guard) {
    [this.#connection, this.#workspace, this.#guard] = [connection, workspace, guard];
  }
  restart(): void {
    this.#after(pause, () => {
      this.#publish();
      this.#after(longPause, () => this.#complete());
    });
  }
  #after(milliseconds: number, run: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#guard(run, undefined), milliseconds);
  }
  /** One elaboration at a time: requests are answered in between, and a change ends it. */
  #complete(): void {
    const analyses = this.#workspace.sources.map((source) =>
      this.#guard(() => this.#workspace.analysisOf(source), null),
    );
    const next = analyses.find((analysis) => analysis?.incomplete);
    if (!next) return;
    this.#guard(() => next.advance(), undefined);
    if (!next.incomplete) this.#publish();
    this.#after(0, () => this.#complete());
  }
  /** An error to which several texts lead is shown once. */
  #publish(): void {
    const { sources } = this.#workspace;
    const documents = [...this.#shown, ...sources.map((source) => this.#workspace.uriOf(source))];
    const errors = new Map(documents.map((uri) => [uri, new Map<string, Diagnostic>()]));
    for (const source of sources)
      for (const { uri, error } of this.#guard(() => this.#workspace.errorsOf(source), []))
        errors.set(uri, new Map(errors.get(uri)).set(JSON.stringify(error), error));
    for (const [uri, found] of errors) void this.#connection.sendDiagnostics({ uri, diagnostics: [...found.values()] });
    this.#shown = [...errors].flatMap(([uri, found]) => (found.size > 0 ? [uri] : []));
  }
}
