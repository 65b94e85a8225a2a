/** Why a data directory can't be used: thrown when the store is opened, never later. */
export class EmbeddedStoreError extends Error {
  override readonly name = 'EmbeddedStoreError';
  constructor(
    readonly reason: 'in_use' | 'newer_schema' | 'unusable',
    readonly dataDir: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
