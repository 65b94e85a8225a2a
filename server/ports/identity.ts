/** Unguessable names: at least 96 bits of a cryptographic generator after the prefix, of `A-Z a-z 0-9`. */
export type IdPrefix = 'sesn' | 'sevt' | 'turn' | 'conn' | 'cmd' | 'req';

export type NewId = (prefix: IdPrefix) => string;
