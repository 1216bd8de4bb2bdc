// NVIDIA's driver: finds it and its GPUs, and says for each of its errors what to do.
import { Problem } from "../../compiler/diagnostic.ts";
import { targetFlagText } from "../../compiler/flag-text.ts";
import { DeviceFailed } from "../executable/executable.ts";
import { type NativeDriver, native } from "../native.ts";
import { capability, minCapability } from "./architecture.ts";

export type Device = NativeDriver["devices"][number];
export interface Driver {
  readonly path: string;
  /** The CUDA version that the driver supports, such as `12.4`. */
  readonly version: string;
  readonly devices: readonly [Device, ...Device[]];
}

/** The first driver that loads and finds a GPU. Throws Problem if there is none. */
export function cudaDriver(environment: NodeJS.ProcessEnv = process.env): Driver {
  const addon = native();
  const named = environment["MOEC_LIBCUDA"];
  const failures: unknown[] = [];
  for (const library of named ? [named] : libraries) {
    try {
      const { path, version, devices } = addon.cudaDriver(library);
      const [first, ...others] = devices;
      if (!first) throw new Error("CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected");
      const shown = `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`;
      return { path, version: shown, devices: [first, ...others] };
    } catch (error) {
      failures.push(error);
    }
  }
  // What a driver that loaded says is more useful than that another path has none.
  throw withRemedy(failures.find((error) => errorCode(error)?.[0] !== "NO_DRIVER") ?? failures[0]);
}
/** First by name for the loader; then the folders of WSL and of containers. */
const folders = ["/usr/lib/wsl/lib", "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib"];
const libraries: readonly string[] = ["libcuda.so.1", ...folders.map((folder) => `${folder}/libcuda.so.1`)];

/** Capabilities of Jetson and the like; code for these does not run on other GPUs of the same major version. */
const embedded: readonly number[] = [87, 88, 101];
/**
 * The architecture to compile for, of those NVRTC supports (`known`): the device's own, with its specific features (`a`) from sm_90 on, or the
 * nearest older one whose code it runs.
 */
export function architectureOf({ major, minor }: Device, known: readonly number[]): string {
  const own = 10 * major + minor;
  if (known.includes(own)) return `sm_${own}${own >= 90 ? "a" : ""}`;
  const older = known.filter((n) => Math.floor(n / 10) === major && n < own && !embedded.includes(n));
  return `sm_${Math.max(...older, 0) || own}`;
}
/** The same for one GPU (`own`) of a machine. Throws Problem if NVRTC or the kernels do not support it, naming another GPU that would do, if any. */
export function usableArchitecture(
  devices: Driver["devices"],
  known: readonly number[],
  own: Device = devices[0],
): string {
  const isUsable = (device: Device): boolean => {
    const wanted = capability(architectureOf(device, known));
    return wanted >= minCapability && known.includes(wanted);
  };
  const [architecture, other] = [architectureOf(own, known), devices.find(isUsable)];
  if (isUsable(own)) return architecture;
  const isOld = capability(architecture) < minCapability;
  const newer = isOld ? "use a newer GPU" : "install a newer NVRTC (`pip install --upgrade nvidia-cuda-nvrtc`)";
  throw new Problem(
    `${own.name} is ${architecture}, ${isOld ? `older than sm_${minCapability}, the least that moec makes code for` : "which this NVRTC makes no code for"}`,
    `${other ? `name ${other.name} first in CUDA_VISIBLE_DEVICES` : newer}; ${targetFlagText("host")} needs no GPU`,
  );
}

const none = "NVIDIA's driver was not found";
const restart =
  "set MOEC_CUDA_GRAPHS=0 to see which kernel it is (MOEC_WGMMA=0 leaves those out whose names end in _sm90); the GPU can be used again by a new process, so please report what stopped this one";
const ncclSays = "set NCCL_DEBUG=INFO, and NCCL says what it tried";
const remedies: Readonly<Record<string, string>> = {
  NO_DRIVER: `install NVIDIA's driver (Debian: \`apt install nvidia-driver\`; in a container: run it with \`--gpus all\`), or name libcuda's path in MOEC_LIBCUDA; ${targetFlagText("host")} needs none`,
  OLD_DRIVER: "install a newer driver: moec needs 525 (CUDA 12.0) or later",
  CUDA_ERROR_NO_DEVICE: `see what \`nvidia-smi\` lists, and whether CUDA_VISIBLE_DEVICES hides it; ${targetFlagText("host")} needs no GPU`,
  CUDA_ERROR_STUB_LIBRARY:
    "this libcuda is the toolkit's stub for linking: install NVIDIA's driver, or take the stub's folder out of LD_LIBRARY_PATH",
  CUDA_ERROR_SYSTEM_DRIVER_MISMATCH: "the driver's library and kernel module differ: restart the machine",
  CUDA_ERROR_SYSTEM_NOT_READY: "start NVIDIA's services (`nvidia-fabricmanager` on machines with NVSwitch)",
  CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE: "take CUDA's compatibility package out of the loader's path",
  CUDA_ERROR_DEVICE_UNAVAILABLE:
    "another process holds the GPU alone: end it, or choose another in CUDA_VISIBLE_DEVICES",
  CUDA_ERROR_UNKNOWN: "see whether `nvidia-smi` works; after an update of the driver, restart the machine",
  CUDA_ERROR_OUT_OF_MEMORY:
    "end what else uses the GPU (`nvidia-smi` lists it), or lower the batch, the length or the model's sizes",
  CUDA_ERROR_INVALID_IMAGE:
    "the driver may be older than NVRTC: update the driver, or install the NVRTC of its version",
  CUDA_ERROR_NO_BINARY_FOR_GPU:
    "NVRTC and the driver do not fit: install the newest NVRTC of the driver's major version of CUDA (`moec doctor` shows both)",
  CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
    "the driver is older than NVRTC: update the driver, or install the NVRTC of its version",
  CUDA_ERROR_ECC_UNCORRECTABLE: "the GPU's memory is damaged: see `nvidia-smi -q -d ECC`, and reset it or use another",
  CUDA_ERROR_LAUNCH_TIMEOUT:
    "the GPU also drives a display and ends what takes seconds: use another, or lower the batch",
  ENDLESS_KERNEL:
    "end this process and set MOEC_WGMMA=0, which leaves kernels out whose names end in _sm90; please report it",
  NO_NCCL: "`moec doctor` says which NCCL there is; MOEC_LIBNCCL names another",
  OLD_NCCL: "install NCCL 2.13 or later, or name it in MOEC_LIBNCCL",
  NCCL_UNHANDLED_CUDA_ERROR: `${ncclSays}; it needs some hundred MB of each GPU for itself`,
  NCCL_SYSTEM_ERROR: `${ncclSays}; a container wants shared memory (\`--shm-size=1g\` or \`--ipc=host\`), and several machines a network in NCCL_SOCKET_IFNAME`,
  NCCL_INVALID_USAGE: `${ncclSays}; each worker needs a GPU of its own, and all of them the same NCCL`,
  NCCL_REMOTE_ERROR: "another worker has ended, or the network between them: see what the others say",
  CUDA_ERROR_ILLEGAL_ADDRESS: restart,
  CUDA_ERROR_MISALIGNED_ADDRESS: restart,
  CUDA_ERROR_ILLEGAL_INSTRUCTION: restart,
  CUDA_ERROR_INVALID_ADDRESS_SPACE: restart,
  CUDA_ERROR_INVALID_PC: restart,
  CUDA_ERROR_HARDWARE_STACK_ERROR: restart,
  CUDA_ERROR_LAUNCH_FAILED: restart,
};

/** The error code that an addon's error message begins with, and the rest of it; null for other errors. */
function errorCode(error: unknown): readonly [code: string, text: string] | null {
  const [, code, text] =
    /^(CUDA_ERROR_\w+|NCCL_\w+|NO_NCCL|OLD_NCCL|NO_DRIVER|OLD_DRIVER|ENDLESS_KERNEL): (.*)$/s.exec(
      error instanceof Error ? error.message : "",
    ) ?? [];
  return code === undefined || text === undefined ? null : [code, text];
}
/**
 * Turns an error of the addon into one that says what the user can do; other errors are returned unchanged. `lines`: the program's lines by kernel
 * name.
 */
export function withRemedy(error: unknown, lines?: ReadonlyMap<string, readonly string[]>, entry?: string): unknown {
  const [code, text] = errorCode(error) ?? [];
  if (code === undefined || text === undefined) return error;
  const [, kernel = ""] = /kernel (\w+)/.exec(text) ?? [];
  const serves = lines?.get(kernel)?.join(", ");
  return new DeviceFailed(
    [
      ...(entry === undefined ? [] : [`${entry} failed`]),
      ...(code === "OLD_DRIVER" ? [] : [code === "NO_DRIVER" ? none : code]),
      serves ? `${text}, which serves ${serves}` : text,
    ].join(": "),
    remedies[code] ?? (code.startsWith("NCCL_") ? ncclSays : "update the driver; if it stays, please report it"),
    { cause: error },
  );
}
/** For an out-of-memory error: how many bytes are free; else null. */
export function freeBytes(error: unknown): number | null {
  const [code, text = ""] = errorCode(error) ?? [];
  const free = code === "CUDA_ERROR_OUT_OF_MEMORY" ? /bytes of (\d+) that are free/.exec(text)?.[1] : undefined;
  return free === undefined ? null : Number(free);
}
