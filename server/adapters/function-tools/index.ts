/** Server tools as functions of this process. */
export { createFunctionTools, type FunctionTool } from './function-tools.js';
