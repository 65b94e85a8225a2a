/** Every route and every command that the server has, read off the server itself. */
import { clientFrameSchema } from '../../protocol/index.js';
import { createHttpApp, type HttpDeps } from '../../server/transports/http/index.js';

/** As `METHOD path`. */
export function allRoutes(): readonly string[] {
  const deps = {
    limits: {},
    policy: {},
    verifier: { required: true },
    usage: {},
    revocations: {},
    metrics: {},
    probes: {},
  };
  const { stack } = createHttpApp(deps as unknown as HttpDeps).router as unknown as {
    stack: { route?: { path: string; stack: { method?: string }[] } }[];
  };
  const routes = stack.flatMap(({ route }) =>
    (route?.stack ?? []).flatMap(({ method }) => (method ? [`${method.toUpperCase()} ${route?.path}`] : [])),
  );
  return [...new Set(routes)];
}

export const allCommands = (): readonly string[] =>
  clientFrameSchema.options.map((option) => option.shape.type.value as string);
