/** Whether the full matrices are asked for (`npm run test:full`). */
export const full: boolean = process.env["MOEC_TEST"] === "full";
