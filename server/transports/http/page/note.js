// @ts-check
/** A tool that runs in the page: the model edits the note that the user sees. */

/** @typedef {import('../../../../client-sdk/index.js').Session} Session */

/**
 * @param {Session} session
 * @param {HTMLTextAreaElement} note
 */
export function offerNote(session, note) {
  session.tool(
    {
      name: 'edit_note',
      description: 'Edits the note that the user sees beside the conversation. Returns the note as it is then.',
      label: 'Editing the note',
      input_schema: {
        type: 'object',
        properties: {
          text: { type: 'string', description: 'What to write.' },
          mode: { type: 'string', enum: ['replace', 'append'], description: 'Default: replace.' },
        },
        required: ['text'],
        additionalProperties: false,
      },
      timeout_ms: 30_000,
    },
    async ({ text, mode }, { signal, progress }) => {
      progress({ message: 'Writing', percent: 50 });
      if (signal.aborted) return undefined;
      note.value = mode === 'append' && note.value !== '' ? `${note.value}\n${text}` : String(text);
      note.classList.remove('edited');
      // Reading the layout restarts the animation.
      void note.offsetWidth;
      note.classList.add('edited');
      return `The note now reads:\n${note.value}`;
    },
  );
}
