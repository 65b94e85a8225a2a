-- Reads the changes from a version on, that one too: a reader sees whether it still is what it was told.
-- KEYS[1]  stream: the last changes
-- KEYS[2]  counter: the version of the last change
-- ARGV[2]  the version that is known
-- ARGV[3]  how many to read at most
-- Returns  { the version of the last change; entries of the stream from the known version on }
local version = tonumber(redis.call('GET', KEYS[2]) or 0)
return { version, redis.call('XRANGE', KEYS[1], ARGV[2] .. '-1', '+', 'COUNT', ARGV[3]) }
