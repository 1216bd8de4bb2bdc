export function hashOfSources(folder: string): string;
export function isOutdated(file: string, hash: string | undefined, folder: string): boolean;
