-- publish.lua: enqueue one message, at once or for later, and ring.
-- KEYS  1 ready list, 2 delayed set, 3 doorbell
-- ARGV  1 due (unix seconds; 0: at once), 2 priority step, 3 message
-- Atomic: the server's clock decides whether it is still to wait. Gives 1 if it was delayed, else 0.
local due = tonumber(ARGV[1])
local later = 0
if due > 0 and due > now() then
  redis.call('ZADD', KEYS[2], ARGV[1], ARGV[2] .. '|' .. ARGV[3])
  later = 1
else
  redis.call('LPUSH', KEYS[1], ARGV[3])
end
ring(KEYS[3])
return later
