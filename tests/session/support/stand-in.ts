/** The same object, but for some of its methods: for a real part that fails once, or waits, where a test wants it. */
export function standIn<T extends object>(real: T, instead: Partial<T>): T {
  return new Proxy(real, {
    get(target, name) {
      if (name in instead) return Reflect.get(instead, name) as unknown;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
