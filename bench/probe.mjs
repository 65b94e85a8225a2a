/** Preloaded into both servers: answers the bench's questions about the process, and ends it when the bench is gone. */

const SETTLE_MS = 150;

async function settledRss() {
  for (let round = 0; round < 6; round++) {
    global.gc?.();
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  }
  return process.memoryUsage.rss();
}

process.on('message', async ({ ask, question }) => {
  if (question === 'cpu') {
    const { user, system } = process.cpuUsage();
    process.send({ ask, answer: user + system });
  } else if (question === 'rss') {
    process.send({ ask, answer: await settledRss() });
  } else if (question === 'exit') process.exit(0);
});
process.on('disconnect', () => process.exit(0));
