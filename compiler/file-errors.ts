// Turns the operating system's file errors into messages for users.
import { Problem } from "./diagnostic.ts";

export const hasErrorCode = (error: unknown, code: string): boolean =>
  error instanceof Error && (error as NodeJS.ErrnoException).code === code;

/** Runs `action` on a file; an error of the operating system is rethrown as a Problem that names the path. */
export function withFileErrors<T>(path: string, doing: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    const code = cause instanceof Error ? (cause as NodeJS.ErrnoException).code : undefined;
    if (code === undefined) throw cause;
    throw new Problem(
      `cannot ${doing} ${path}: ${reasons[code] ?? code}`,
      remedies[code] ?? "check the path and its disk",
      {
        cause,
      },
    );
  }
}
const reasons: Record<string, string> = {
  ERR_INVALID_ARG_TYPE: "a path is a string",
  ENOENT: "there is no such file or folder",
  EACCES: "permission denied",
  EPERM: "the system does not permit it",
  EISDIR: "it is a folder",
  ENOTDIR: "a part of the path is a file",
  EEXIST: "a part of the path is a file",
  ENOSPC: "the disk is full",
  EDQUOT: "your disk quota is used up",
  ENAMETOOLONG: "the name is too long",
  ELOOP: "its links lead in a circle",
  EMFILE: "this process may open no more files",
  EIO: "the disk failed",
  EROFS: "the file system is read-only",
};
const remedies: Record<string, string> = {
  ERR_INVALID_ARG_TYPE: 'give the path of a file: "model.safetensors"',
  ENOENT: "check the spelling of the path",
  EACCES: "change its permissions, or choose another path",
  EPERM: "look at the owner and the attributes (lsattr) of the file and its folder, or choose another path",
  EISDIR: "name a file",
  ENOTDIR: "choose another path",
  EEXIST: "choose another path",
  EROFS: "choose a path on another disk",
  ENOSPC: "free some space, or choose another disk",
  EDQUOT: "remove files, or choose another disk",
  ENAMETOOLONG: "choose a shorter one",
  EMFILE: "raise the limit: ulimit -n",
};
