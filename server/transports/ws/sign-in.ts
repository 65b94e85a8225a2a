/** Answers `connection.authenticate`: verifies the token, lets the connection take it, and replies once (CMD-1). */
import type { MidstreamError } from '../../../protocol/index.js';
import type { NewId } from '../../ports/identity.js';
import type { Logger } from '../../ports/logger.js';
import type { Identity, TokenVerifier } from '../../ports/token-verifier.js';
import { toMidstreamError } from '../wire-error.js';

export interface SignInDeps {
  readonly verifier: TokenVerifier;
  readonly newId: NewId;
  readonly logger: Logger;
  readonly isEnded: () => boolean;
  readonly accept: (commandId: string, expiresAt: number | undefined) => void;
  readonly refuse: (commandId: string, error: MidstreamError, requestId: string) => void;
}

export class SignIn {
  constructor(private readonly deps: SignInDeps) {}

  /** `take` may refuse by throwing; what it returns runs after the reply went out. */
  answer(
    command: { readonly id: string; readonly token: string },
    take: (identity: Identity) => () => void,
    onRefused: (error: MidstreamError) => void = () => {},
  ): void {
    const { verifier, newId, logger, isEnded, accept, refuse } = this.deps;
    const requestId = newId('req');
    verifier
      .verify(verifier.required ? command.token : undefined)
      .then((identity) => {
        // A seat taken for a socket that is gone would never be given back.
        if (isEnded()) return;
        const proceed = take(identity);
        accept(command.id, identity.expiresAt);
        proceed();
      })
      .catch((thrown: unknown) => {
        const error = toMidstreamError(thrown, logger, requestId);
        refuse(command.id, error, requestId);
        onRefused(error);
      });
  }
}
