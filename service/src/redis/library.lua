#!lua name=@

-- The part of Parley that runs inside Redis, one atomic call each. Every key of a call is of one hash tag. What keys and
-- arguments are called is in keys.rs and in the files that call; `@` becomes the library's name, which is made from this
-- text, so that instances of two versions can share a server.
--
-- The last argument of every call is a number that the caller makes up, and every answer is that number and then what is
-- told. So the caller can see that an answer is to its question; and no answer begins with a word that users choose, which
-- the client library could take for news of a subscription, and drop.
--
-- A log is two keys. Its meta is a hash:
--   e  the epoch           o  the offset of the newest message
--   r  the reign in which the epoch was written
--   h  earlier epochs with the offset at which each ended, newest first: `epoch:offset epoch:offset`
--   t  when the meta's expiry was last put off        x  when that of the stream was
-- The stream has the messages under the ids `offset-0`, each with one field `m`: the payload as it is published.

local EARLIER_EPOCHS = 8
-- Entries that are fetched at once: the limit of bytes mostly ends a page long before that of messages does.
local BATCH = 64
-- How long the meta of a log without a message is kept, in milliseconds.
local UNWRITTEN = 600000
-- For how long at most an expiry is not put off: what is kept may have been told to be shorter before.
local STANDS = 10800000

-- Of this server process. A promoted replica and a restarted server have a library of their own, which asks again.
local run_id, reign_id

local function server()
    if not run_id then
        run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
    end
    return run_id
end

-- Names the time for which this process is the primary without having taken over another's data: the process alone is not
-- enough, because one that was replaced, and followed the other, may become the primary again. With the other's data it
-- got the library anew, too, which then asks again; and a promotion is told by the second id of replication. The first one
-- will not do: it also changes when a replica comes, and libraries of two versions would then name one reign differently.
local function reign()
    if not reign_id then
        reign_id = server() .. ':' .. string.match(redis.call('INFO', 'replication'), 'master_replid2:(%x+)')
    end
    return reign_id
end

-- Whether a log was written in this reign. The second id is forgotten by a server that had no replica for an hour.
local function ours(writer)
    local mine = reign()
    return writer == mine or (string.match(mine, ':0+$') and string.match(writer or '', '^%x+') == server())
end

local function integer(number)
    return string.format('%.0f', number)
end

-- Milliseconds since the Unix epoch.
local function clock()
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- The log's epoch, top, earlier epochs and the time of `x`; after it was brought into line with this server. Where that
-- cannot be, because the server takes no writes, it must be in line already.
local function open(meta, log, candidate, now, keep, read_only)
    local fields = redis.call('HMGET', meta, 'e', 'o', 'r', 'h', 't', 'x')
    local epoch, top, writer, earlier = fields[1], tonumber(fields[2]), fields[3], fields[4] or ''
    if read_only then
        if not epoch or not top or not ours(writer) then
            error({ err = 'UNREADY the log cannot be opened while the server takes no writes' })
        end
        return epoch, top, earlier, tonumber(fields[6])
    end
    -- One that nobody has written to is kept for as long as somebody asks: names cost nothing.
    keep = top and top > 0 and keep or math.min(keep, UNWRITTEN)
    if not epoch or not top then
        -- Never written, or lost: whatever is left of the stream belongs to an epoch that nobody knows any more.
        redis.call('DEL', meta, log)
        redis.call('HSET', meta, 'e', candidate, 'o', '0', 'r', reign(), 't', integer(now))
        redis.call('PEXPIRE', meta, integer(keep))
        return candidate, 0, '', nil
    end
    if not ours(writer) then
        -- The log is a prefix of what the other server had: what it had beyond may have been acknowledged and seen.
        local kept, count = epoch .. ':' .. integer(top), 1
        for one in string.gmatch(earlier, '%S+') do
            if count < EARLIER_EPOCHS then
                kept, count = kept .. ' ' .. one, count + 1
            end
        end
        epoch, earlier = candidate, kept
        redis.call('HSET', meta, 'e', epoch, 'r', reign(), 'h', earlier)
    end
    local since = tonumber(fields[5]) or 0
    if math.abs(now - since) > math.min(keep / 16, STANDS) then
        redis.call('PEXPIRE', meta, integer(keep))
        redis.call('HSET', meta, 't', integer(now))
    end
    return epoch, top, earlier, tonumber(fields[6])
end

-- Whether all that follows a position was in this log or still is: the offset must have been reached in its epoch.
local function reached(epoch, top, earlier, of, offset)
    if of == epoch then
        return offset <= top
    end
    local ended = string.match(' ' .. earlier, ' ' .. of .. ':(%d+)')
    return ended and offset <= tonumber(ended)
end

-- KEYS meta, log, and the retry keys of the messages that have one
-- ARGV channel, candidate, now, keep of the meta, keep of the log, keep of a key, most messages; then for each message:
--      whether it has a retry key, at, trace, head, tail
-- Returns epoch, offset and time of each message; of fewer, if the rest could not be stored.
local function publish(KEYS, ARGV)
    local meta, log, key = KEYS[1], KEYS[2], 2
    local now, keep = tonumber(ARGV[3]), tonumber(ARGV[5])
    local epoch, top, earlier, put_off = open(meta, log, ARGV[2], now, tonumber(ARGV[4]))
    local before, answer = top, {}
    for index = 8, #ARGV, 5 do
        local at, retry, first = ARGV[index + 1], nil, nil
        if ARGV[index] == '1' then
            key = key + 1
            retry = KEYS[key]
            first = redis.call('GET', retry)
        end
        local of, offset, was_at
        if first then
            of, offset, was_at = string.match(first, '^(%x+) (%d+) (%d+)$')
        end
        -- Of an earlier epoch, too, if the log still has it: it is where it was.
        if of and reached(epoch, top, earlier, of, tonumber(offset)) then
            at = was_at
        else
            offset = integer(top + 1)
            local payload = '1 M ' .. epoch .. ' ' .. offset .. ' ' .. ARGV[index + 2] .. '\n' .. ARGV[index + 3]
                .. offset .. ARGV[index + 4]
            -- The first command that writes says whether this server takes it. Once there is an answer for a message, no
            -- error may say that nothing is stored.
            local call = #answer == 0 and redis.call or redis.pcall
            local stored = call('XADD', log, 'MAXLEN', '=', ARGV[7], offset .. '-0', 'm', payload)
            if type(stored) == 'table' and stored.err then
                break
            end
            top = top + 1
            if retry then
                redis.pcall('SET', retry, epoch .. ' ' .. offset .. ' ' .. at, 'PX', ARGV[6])
            end
            -- A channel that the user has no right to is told by the probe.
            redis.pcall('SPUBLISH', ARGV[1], payload)
        end
        answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = epoch, offset, at
    end
    if top > before then
        if before == 0 then
            redis.pcall('PEXPIRE', meta, ARGV[4])
            redis.pcall('HSET', meta, 't', integer(now))
        end
        if not put_off or math.abs(now - put_off) > math.min(keep / 8, STANDS) then
            redis.pcall('PEXPIRE', log, integer(keep + keep / 8))
            redis.pcall('HSET', meta, 'o', integer(top), 'x', integer(now))
        else
            redis.pcall('HSET', meta, 'o', integer(top))
        end
    end
    return answer
end

-- The publisher's clock, with which every frame ends; nil if it has none.
local function published(payload)
    return tonumber(string.match(string.sub(payload, -24), ',"at":(%d+)}$'))
end

-- Lets go of messages that were published before the horizon. They are at the beginning of the stream.
local function trim(log, horizon)
    local from, keep = '-', nil
    while true do
        local batch = redis.call('XRANGE', log, from, '+', 'COUNT', from == '-' and 1 or BATCH)
        for _, entry in ipairs(batch) do
            local at = published(entry[2][2])
            if not at or at >= horizon then
                keep = entry[1]
                break
            end
        end
        if keep or #batch == 0 then
            break
        end
        from = '(' .. batch[#batch][1]
    end
    if from ~= '-' then
        if keep then
            redis.call('XTRIM', log, 'MINID', '=', keep)
        else
            redis.call('XTRIM', log, 'MAXLEN', '=', 0)
        end
    end
end

-- Frames from an edge on, whether there are more, and the id of the first.
local function collect(command, log, edge, count, bytes)
    local page, used, first = {}, 0, nil
    local last = command == 'XRANGE' and '+' or '-'
    while true do
        -- One more than wanted tells whether there is more.
        local wanted = math.min(BATCH, count - #page + 1)
        local batch = redis.call(command, log, edge, last, 'COUNT', wanted)
        for _, entry in ipairs(batch) do
            local payload = entry[2][2]
            first = first or entry[1]
            local size = #payload - (string.find(payload, '\n', 1, true) or 0)
            if #page == count or (#page > 0 and used + size > bytes) then
                return page, 1, first
            end
            page[#page + 1], used = payload, used + size
        end
        if #batch < wanted then
            return page, 0, first
        end
        edge = '(' .. batch[#batch][1]
    end
end

-- KEYS meta, log
-- ARGV candidate, now, keep of the meta, age at which messages go, kind of range, epoch, offset, most messages, most bytes
-- Returns epoch, top, lost, more, and the payloads in the order of reading.
local function read(KEYS, ARGV, read_only)
    local meta, log = KEYS[1], KEYS[2]
    local epoch, top, earlier = open(meta, log, ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), read_only)
    local kind, offset, count, bytes = ARGV[5], ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9])
    -- By this server's clock: an instance whose clock is ahead must not throw away what others have said.
    if not read_only then
        trim(log, clock() - tonumber(ARGV[4]))
    end

    local page, more, first, lost = {}, 0, nil, 0
    if kind == 'since' then
        local from = tonumber(offset)
        if not reached(epoch, top, earlier, ARGV[6], from) then
            lost = 1
        elseif from < top then
            page, more, first = collect('XRANGE', log, '(' .. offset .. '-0', count, bytes)
            if first ~= integer(from + 1) .. '-0' then
                page, more, lost = {}, 0, 1
            end
        end
    elseif kind == 'after' then
        page, more = collect('XRANGE', log, '(' .. offset .. '-0', count, bytes)
    elseif kind == 'newest' then
        page, more = collect('XREVRANGE', log, '+', count, bytes)
    elseif offset ~= '0' then
        page, more = collect('XREVRANGE', log, '(' .. offset .. '-0', count, bytes)
    end
    local answer = { epoch, integer(top), lost, more }
    for _, payload in ipairs(page) do
        answer[#answer + 1] = payload
    end
    return answer
end

-- KEYS meta, log
-- ARGV candidate, now, keep of the meta
local function position(KEYS, ARGV, read_only)
    local epoch, top = open(KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), read_only)
    return { epoch, integer(top) }
end

-- The server, if it is a primary: a replica's data may be old.
local function primary()
    if not string.find(redis.call('INFO', 'replication'), 'role:master', 1, true) then
        error({ err = 'READONLY this is a replica' })
    end
    return server()
end

-- For a server that takes no writes at the moment, because its disk or its replicas are missing.
local function while_read_only(call)
    return function(KEYS, ARGV)
        primary()
        return call(KEYS, ARGV, true)
    end
end

-- Who is in a room is a hash: the user, and the instances that have a session of it, separated by spaces. A second hash
-- counts the users of each instance.

local function holds(holders, instance)
    return string.find(' ' .. holders .. ' ', ' ' .. instance .. ' ', 1, true) ~= nil
end

-- KEYS who, held
-- ARGV user, instance, channel, hint, most users of a room that tells hints, server that has the lease
-- Returns -1, and does nothing, if this is another server: it may have lost the lease and the list of rooms.
local function enter(KEYS, ARGV)
    if ARGV[6] ~= server() then
        return -1
    end
    local holders = redis.call('HGET', KEYS[1], ARGV[1])
    if holders and holds(holders, ARGV[2]) then
        return 0
    end
    redis.call('HSET', KEYS[1], ARGV[1], holders and holders .. ' ' .. ARGV[2] or ARGV[2])
    redis.call('HINCRBY', KEYS[2], ARGV[2], 1)
    if not holders and redis.call('HLEN', KEYS[1]) <= tonumber(ARGV[5]) then
        redis.call('SPUBLISH', ARGV[3], ARGV[4])
    end
    return 1
end

-- KEYS who, held
-- ARGV user, instance, channel, hint, most users of a room that tells hints
-- Returns how many users the instance still has in the room.
local function leave(KEYS, ARGV)
    local holders = redis.call('HGET', KEYS[1], ARGV[1])
    if not holders or not holds(holders, ARGV[2]) then
        return tonumber(redis.call('HGET', KEYS[2], ARGV[2]) or 0)
    end
    local others = {}
    for holder in string.gmatch(holders, '%S+') do
        if holder ~= ARGV[2] then
            others[#others + 1] = holder
        end
    end
    if #others > 0 then
        redis.call('HSET', KEYS[1], ARGV[1], table.concat(others, ' '))
    else
        local before = redis.call('HLEN', KEYS[1])
        redis.call('HDEL', KEYS[1], ARGV[1])
        if before <= tonumber(ARGV[5]) then
            redis.call('SPUBLISH', ARGV[3], ARGV[4])
        end
    end
    local left = redis.call('HINCRBY', KEYS[2], ARGV[2], -1)
    if left <= 0 then
        redis.call('HDEL', KEYS[2], ARGV[2])
        left = 0
    end
    return left
end

-- A name as JSON. Nobody needs an escaped slash, and other hints have none.
local function json(name)
    return (string.gsub(cjson.encode(name), '\\/', '/'))
end

-- KEYS who, held
-- ARGV instance, channel, hint up to the user, most users of a room that tells hints, cursor, users to look at
-- Removes what the instance holds among these users, and tells the leaves. Returns the cursor to go on with; 0: done.
local function clear(KEYS, ARGV)
    local answer = redis.call('HSCAN', KEYS[1], ARGV[5], 'COUNT', ARGV[6])
    local cursor, all = answer[1], answer[2]
    local users, most, removed = redis.call('HLEN', KEYS[1]), tonumber(ARGV[4]), 0
    for index = 1, #all, 2 do
        local user, holders = all[index], all[index + 1]
        if holds(holders, ARGV[1]) then
            local others = {}
            for holder in string.gmatch(holders, '%S+') do
                if holder ~= ARGV[1] then
                    others[#others + 1] = holder
                end
            end
            removed = removed + 1
            if #others > 0 then
                redis.call('HSET', KEYS[1], user, table.concat(others, ' '))
            else
                redis.call('HDEL', KEYS[1], user)
                if users <= most then
                    redis.call('SPUBLISH', ARGV[2], ARGV[3] .. json(user) .. '}')
                end
                users = users - 1
            end
        end
    end
    if removed > 0 then
        redis.call('HINCRBY', KEYS[2], ARGV[1], -removed)
    end
    if cursor == '0' or tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or 0) <= 0 then
        redis.call('HDEL', KEYS[2], ARGV[1])
        return '0'
    end
    return cursor
end

-- KEYS leases
-- ARGV instance, length, most expired ones to tell, whether the lease is to begin if it does not stand
-- Returns the server's run_id, whether the lease stood, and instances whose lease has run out and nobody cleans up after.
-- One that was given up is not taken up again: an answer that says so may be lost, and then the next one must say it too.
local function renew(KEYS, ARGV)
    local now = clock()
    local stood = (tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0) > 0) and 1 or 0
    if stood == 1 or ARGV[4] == '1' then
        redis.call('ZADD', KEYS[1], integer(now + tonumber(ARGV[2])), ARGV[1])
    end
    local expired = redis.call('ZRANGEBYSCORE', KEYS[1], integer(-now), integer(now), 'LIMIT', 0, ARGV[3])
    return { server(), stood, expired }
end

-- KEYS leases
-- ARGV instance, length of the claim, claim that is held
-- Ends a lease that has run out, for who is to clean up: from here on the instance knows that it was given up. The lease
-- stays listed until the last trace of the instance is removed: as a claim, which is the negative time at which it runs
-- out, because who cleans up may be gone before that. With the claim that is held it is put off, or with length 0 the
-- lease is removed. Returns the claim; 0: it is somebody else's, or the instance came back.
local function give_up(KEYS, ARGV)
    local score, now = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or ''), clock()
    local free = ARGV[3] == '0' and score and score >= -now and score <= now
    if not free and (ARGV[3] == '0' or score ~= -tonumber(ARGV[3])) then
        return 0
    end
    if ARGV[2] == '0' then
        redis.call('ZREM', KEYS[1], ARGV[1])
        return tonumber(ARGV[3])
    end
    local claim = now + tonumber(ARGV[2])
    redis.call('ZADD', KEYS[1], integer(-claim), ARGV[1])
    return claim
end

-- KEYS records, until
-- ARGV instance, record, how long it stands
local function announce(KEYS, ARGV)
    local now = clock()
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    redis.call('ZADD', KEYS[2], integer(now + tonumber(ARGV[3])), ARGV[1])
    for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', integer(now), 'LIMIT', 0, 100)) do
        redis.call('HDEL', KEYS[1], gone)
        redis.call('ZREM', KEYS[2], gone)
    end
    return 1
end

-- KEYS records, until
-- Returns the records that stand.
local function instances(KEYS, _)
    local records = {}
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. integer(clock()), '+inf')) do
        local record = redis.call('HGET', KEYS[1], name)
        if record then
            records[#records + 1] = record
        end
    end
    return records
end

-- KEYS index, where the last sweep ended
-- ARGV how long nobody else sweeps, names to look at
-- Returns the next names of the index, unless it is not yet time. After the last name it begins anew.
local function sweep(KEYS, ARGV)
    local now, length = clock(), tonumber(ARGV[1])
    local last = redis.call('HMGET', KEYS[2], 'name', 'until')
    local left = (tonumber(last[2]) or 0) - now
    if left > 0 and left <= length then
        return {}
    end
    local from = last[1] and '(' .. last[1] or '-'
    local names = redis.call('ZRANGE', KEYS[1], from, '+', 'BYLEX', 'LIMIT', 0, ARGV[2])
    redis.call('HSET', KEYS[2], 'until', integer(now + length))
    if #names < tonumber(ARGV[2]) then
        redis.call('HDEL', KEYS[2], 'name')
        redis.call('PEXPIRE', KEYS[2], integer(length))
    else
        redis.call('HSET', KEYS[2], 'name', names[#names])
        redis.call('PERSIST', KEYS[2])
    end
    return names
end

-- KEYS the key
-- ARGV a command, and its arguments after the key
local function command(KEYS, ARGV)
    return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))
end

local function register(name, call, ...)
    local function answer(KEYS, ARGV)
        local number = table.remove(ARGV)
        return { number, call(KEYS, ARGV) }
    end
    redis.register_function({ function_name = '@_' .. name, callback = answer, flags = { ... } })
end

-- `allow-oom`: what frees, keeps or reads must go on when the memory is full. `no-writes`: also when nothing may be written.
register('publish', publish)
register('read', read, 'allow-oom')
register('position', position, 'allow-oom')
register('read_only', while_read_only(read), 'no-writes')
register('position_only', while_read_only(position), 'no-writes')
register('primary', primary, 'no-writes')
register('enter', enter)
register('leave', leave, 'allow-oom')
register('clear', clear, 'allow-oom')
register('renew', renew, 'allow-oom')
register('give_up', give_up, 'allow-oom')
register('announce', announce, 'allow-oom')
register('instances', instances, 'no-writes')
register('sweep', sweep, 'allow-oom')
register('look', command, 'no-writes')
register('add', command)
register('remove', command, 'allow-oom')
