/** Tries until it works: nobody can be told when another node has read what it was told. */
export async function eventually<T>(work: () => T | Promise<T>, withinMs = 5_000): Promise<T> {
  for (const until = performance.now() + withinMs; ; ) {
    try {
      return await work();
    } catch (error) {
      if (performance.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}
