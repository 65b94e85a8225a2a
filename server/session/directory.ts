/** The roles of the last credential verified for each user of each org (TOOL-1). */
import type { Principal } from '../../protocol/index.js';

export interface Directory {
  /** A credential of theirs was verified just now. */
  saw(principal: Principal): void;
  /** Somebody acts whose credential was verified some time ago: what was seen since stands. */
  knows(principal: Principal): void;
  rolesOf(who: { readonly user_id: string; readonly org_id: string }): readonly string[];
}

/** `known`: roles that hold before anybody was seen; a turn that is taken up at the start needs them. */
export function createDirectory(known: readonly Principal[] = []): Directory {
  const roles = new Map<string, readonly string[]>();
  const directory: Directory = {
    saw: (principal) => void roles.set(toKey(principal), principal.roles),
    knows: (principal) => {
      if (!roles.has(toKey(principal))) directory.saw(principal);
    },
    rolesOf: (who) => roles.get(toKey(who)) ?? [],
  };
  for (const principal of known) directory.saw(principal);
  return directory;
}

const toKey = ({ user_id, org_id }: { readonly user_id: string; readonly org_id: string }): string =>
  `${org_id}\n${user_id}`;
