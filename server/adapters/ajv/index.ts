/** Checks inputs against JSON Schemas. */
export { createInputValidator } from './input-validator.js';
