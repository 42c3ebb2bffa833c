"""Tally: one key's use as all replicas see it, in Redis: what is asked of it, and what it tells. Pure but for the script's text.

    trunkline:1:use:KEY            hash, gone after 90 s of nothing: `r:SECOND` requests, `t:SECOND` tokens, by Redis' clock;
                                   `o:REPLICA` how many it has under way, and until when that is believed
    trunkline:1:spent:KEY:PERIOD   hash: by replica, micro-dollars that it spent in that day or month

What a replica has spent and has under way is told as it stands, not as a change: told twice, or again to a Redis that lost it, it is
still right. The script decides and counts in one step, so that no two replicas are given the same request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.access.key import Key
from gateway.access.meter import Left, Meter, budget_spent, period_of
from gateway.contract.errors import GatewayError, LimitReached
from gateway.state.redis_link import PREFIX

MICRO = 1e-6
BELIEVED = 30
"""Seconds that a replica's word on what it has under way holds, unless it says so again."""

SCRIPT = """
local time = redis.call('TIME')
local second = tonumber(time[1])
local now = second * 1000 + math.floor(tonumber(time[2]) / 1000)
local me, wanted = ARGV[1], tonumber(ARGV[2])
local most_requests, most_tokens, most_open, most_spent =
  tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local requests, tokens, reserved = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local open, mine = tonumber(ARGV[10]), tonumber(ARGV[11])
local owed_requests, owed_tokens = requests, tokens
local first_request, first_token, others, old = second, second, 0, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local kind, of, value = string.sub(all[i], 1, 1), string.sub(all[i], 3), all[i + 1]
  if kind == 'o' then
    local count, till = string.match(value, '^(%d+):(%d+)$')
    if of ~= me then
      if tonumber(till) < second then old[#old + 1] = all[i] else others = others + tonumber(count) end
    end
  elseif tonumber(of) < second - 60 then
    old[#old + 1] = all[i]
  elseif kind == 'r' then
    requests = requests + tonumber(value)
    first_request = math.min(first_request, tonumber(of))
  else
    tokens = tokens + tonumber(value)
    first_token = math.min(first_token, tonumber(of))
  end
end
if #old > 0 then redis.call('HDEL', KEYS[1], unpack(old)) end
local spent = 0
if most_spent >= 0 then
  if mine > 0 then
    redis.call('HSET', KEYS[2], me, ARGV[11])
    redis.call('EXPIRE', KEYS[2], 2764800)
  end
  for _, each in ipairs(redis.call('HVALS', KEYS[2])) do spent = spent + tonumber(each) end
end
local granted = wanted
if most_requests >= 0 then granted = math.min(granted, most_requests - requests) end
if most_open >= 0 then granted = math.min(granted, most_open - others - open) end
if most_tokens >= 0 and tokens + reserved >= most_tokens then granted = 0 end
if most_spent >= 0 and spent >= most_spent then granted = 0 end
granted = math.max(granted, 0)
if owed_requests + granted > 0 then redis.call('HINCRBY', KEYS[1], 'r:' .. second, owed_requests + granted) end
if owed_tokens > 0 then redis.call('HINCRBY', KEYS[1], 't:' .. second, owed_tokens) end
if most_open >= 0 then
  if open + granted > 0 then
    redis.call('HSET', KEYS[1], 'o:' .. me, (open + granted) .. ':' .. (second + tonumber(ARGV[12])))
  else
    redis.call('HDEL', KEYS[1], 'o:' .. me)
  end
end
redis.call('EXPIRE', KEYS[1], 90)
return {granted, requests + granted, (first_request + 61) * 1000 - now, tokens, (first_token + 61) * 1000 - now, others, spent}
"""
SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

Lefts = tuple[Left | None, Left | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """`wanted`: requests that wait; `requests`, `tokens`: used and not told yet; `spent`: US dollars in `period`."""

    key: Key
    wanted: int
    requests: int
    tokens: int
    reserved: int
    open: int
    spent: float
    period: str

    def keys(self) -> Sequence[str]:
        return f"{PREFIX}use:{self.key.id}", f"{PREFIX}spent:{self.key.id}:{self.period}"

    def arguments(self, me: str) -> Sequence[str | int]:
        limits = self.key.limits
        budget = -1 if limits.budget is None else round(limits.budget.usd / MICRO)
        most = (-1 if each is None else each for each in (limits.requests, limits.tokens, limits.streams))
        used = (self.requests, self.tokens, self.reserved, self.open, round(self.spent / MICRO))
        return me, self.wanted, *most, budget, *used, BELIEVED


@dataclass(frozen=True, slots=True)
class Told:
    """Of all replicas, in any minute: `requests`, `tokens`, and in how many seconds the oldest come back. `others`: under way
    elsewhere; `spent`: US dollars."""

    granted: int
    requests: int
    requests_free: float
    tokens: int
    tokens_free: float
    others: int
    spent: float

    @classmethod
    def of(cls, answer: Sequence[int]) -> Told:
        granted, requests, requests_free, tokens, tokens_free, others, spent = answer
        return cls(granted, requests, requests_free / 1e3, tokens, tokens_free / 1e3, others, spent * MICRO)

    def left(self, key: Key, reserved: int) -> Lefts:
        limits = key.limits
        requests = tokens = None
        if limits.requests is not None:
            requests = Left(limits.requests, max(0, limits.requests - self.requests), self.requests_free)
        if limits.tokens is not None:
            tokens = Left(limits.tokens, max(0, limits.tokens - self.tokens - reserved), self.tokens_free)
        return requests, tokens

    def refusal(self, key: Key, reserved: int, unix: float) -> GatewayError:
        """Why no more was granted."""
        limits = key.limits
        if limits.budget is not None and self.spent >= limits.budget.usd:
            return budget_spent(limits.budget, unix)
        if limits.requests is not None and self.requests >= limits.requests:
            return LimitReached(f"{limits.requests} requests a minute", self.requests_free)
        if limits.tokens is not None and self.tokens + reserved >= limits.tokens:
            return LimitReached(f"{limits.tokens} tokens a minute", self.tokens_free)
        return LimitReached(f"{limits.streams} requests at once", 1.0)


def asked_of(key: Key, meter: Meter, wanted: int, now: float, unix: float) -> Asked:
    budget = key.limits.budget
    period = period_of(budget.per, unix) if budget is not None else "-"
    spent = meter.spent.get(period, 0.0)
    requests, tokens = meter.owed_requests.used(now), meter.owed_tokens.used(now)
    return Asked(key, wanted, requests, tokens, meter.reserved, meter.open, spent, period)
