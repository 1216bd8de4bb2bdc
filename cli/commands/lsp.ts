import { Command } from "commander";
import { note } from "../output.ts";

export const lspCommand = (): Command =>
  new Command("lsp")
    .description("Serve editors (Language Server Protocol, stdin and stdout): errors as you type, types, definitions.")
    .option("--stdio", "said by some editors; changes nothing")
    .action(async () => {
      if (process.stdin.isTTY) note("an editor starts this and speaks with it: see docs/command-line.md, Editors");
      const { serve } = await import("../lsp/server.ts");
      serve();
    });
