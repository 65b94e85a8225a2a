/** Server tools as functions of this process. */
export { createFunctionTools, type FunctionTool, type FunctionToolContext } from './function-tools.js';
