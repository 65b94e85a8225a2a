-- Keeps the roles of a user, and puts the change behind all others.
-- KEYS[1]  hash: roles
-- KEYS[2]  stream: the last changes
-- KEYS[3]  counter: the version of the last change
-- ARGV[2]  field of the user
-- ARGV[3]  roles and their credential, as JSON
-- ARGV[4]  the change, as JSON
-- ARGV[5]  how many changes are kept, about
-- Returns  the version of this change
local version = redis.call('INCR', KEYS[3])
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], version .. '-1', 'change', ARGV[4])
return version
