/** Listeners of one thing that happens; one that throws harms no other. */
export interface Signal<Args extends unknown[]> {
  on(listener: (...args: Args) => void): () => void;
  emit(...args: Args): void;
}

export function createSignal<Args extends unknown[]>(onError: (error: unknown) => void): Signal<Args> {
  const listeners = new Set<(...args: Args) => void>();
  return {
    on(listener) {
      const own = (...args: Args): void => listener(...args);
      listeners.add(own);
      return () => void listeners.delete(own);
    },
    emit(...args) {
      for (const listener of listeners) {
        try {
          listener(...args);
        } catch (error) {
          onError(error);
        }
      }
    },
  };
}
