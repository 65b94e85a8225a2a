/** Reads the body of a tool's answer, up to a bound. */

export interface ReadBody {
  readonly text: string;
  /** Whether there was more. */
  readonly isCut: boolean;
  /** Whether the bytes were UTF-8. */
  readonly isText: boolean;
}

/** Stops at `maxBytes` and gives up the rest; rejects where the connection breaks. */
export async function readBody(body: AsyncIterable<Buffer>, maxBytes: number): Promise<ReadBody> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Leaving the loop early destroys the body, and with it the connection.
  for await (const chunk of body) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > maxBytes) break;
  }
  const isCut = bytes > maxBytes;
  const whole = Buffer.concat(chunks).subarray(0, maxBytes);
  return { ...decode(whole, isCut), isCut };
}

function decode(bytes: Buffer, isCut: boolean): { text: string; isText: boolean } {
  try {
    // `stream` leaves out a character that the cut went through.
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: isCut }), isText: true };
  } catch {
    return { text: '', isText: false };
  }
}
