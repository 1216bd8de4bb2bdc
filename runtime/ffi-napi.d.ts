// What nvrtc.ts uses of ffi-napi and ref-napi. They are optional dependencies: where npm cannot build them, it leaves out their own types too.
declare module "ffi-napi" {
  const ffi: { readonly Library: new (path: string, functions: object) => object };
  export default ffi;
}
declare module "ref-napi" {
  const ref: {
    readPointer(buffer: Buffer, offset: number, length?: number): Buffer;
    writePointer(buffer: Buffer, offset: number, pointer: Buffer): void;
    readCString(buffer: Buffer, offset: number): string;
  };
  export default ref;
}
