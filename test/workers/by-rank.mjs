// `by-rank.mjs PROGRAM LISTS`: runs PROGRAM with this worker's own arguments, one of LISTS (JSON). mpirun's `-n 1 A : -n 1 B` faults in Open MPI 5.0.7.
import { argv, env } from "node:process";

const [, , program, lists] = argv;
argv.splice(1, argv.length, program, ...JSON.parse(lists)[env.OMPI_COMM_WORLD_RANK ?? env.PMI_RANK]);
await import(program);
