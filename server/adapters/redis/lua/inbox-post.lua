-- Puts a letter into a node's inbox.
-- KEYS[1]  stream: the inbox
-- ARGV[2]  the letter, as JSON
-- ARGV[3]  about how many letters may wait
-- ARGV[4]  how long an inbox stays whose node doesn't hold it on, milliseconds
-- Returns  nothing
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'l', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4], 'NX')
return false
