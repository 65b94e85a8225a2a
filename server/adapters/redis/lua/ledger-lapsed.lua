-- Which holds of an organisation nobody keeps alive any more.
-- KEYS[1]  sorted set: holds by when they lapse, milliseconds since 1970
-- ARGV[2]  how many at most
-- Returns  their ids, the longest lapsed first
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now_ms()), 'LIMIT', 0, ARGV[2])
