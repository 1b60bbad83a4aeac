-- run_now.lua: move delayed messages to the heads of their ready lists; the last one comes first there.
-- KEYS  1 delayed set, 2 doorbell, then the ready lists
-- ARGV  for each message: the position of its ready list in KEYS, its member of the delayed set, the message in it
-- Atomic: moves each message, or leaves it alone if it is no longer delayed. Returns for each 1 or 0.
local moved, any = {}, false
for i = 1, #ARGV, 3 do
  moved[#moved + 1] = 0
  if redis.call('ZSCORE', KEYS[1], ARGV[i + 1]) then
    redis.call('RPUSH', KEYS[tonumber(ARGV[i])], ARGV[i + 2])
    redis.call('ZREM', KEYS[1], ARGV[i + 1])
    moved[#moved], any = 1, true
  end
end
if any then ring(KEYS[2]) end
return moved
