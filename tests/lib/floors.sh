# shellcheck shell=bash disable=SC2154 # the variables that it uses are set by tests/run
#
# Counts the tests of each target in what `cargo test` wrote, and compares them with tests/floors. Sourced by tests/run;
# uses its $stage and $logs.

# Reads the log of this stage as lines `TARGET PASSED FAILED IGNORED`. A target is named as its program:
# parley_service, parley, it; its doc tests are parley_service/doc.
count_tests() {
    awk '
        function start(name) {
            if (!(name in passed)) order[++targets] = name
            target = name; passed[name] += 0; unheard[name] = 1
        }
        /^ +Running .*-[0-9a-f]+\)$/ {
            name = $NF; sub(/.*[\/(]/, "", name); sub(/-[0-9a-f]+\)$/, "", name)
            start(name); next
        }
        /^ +Doc-tests / { start($NF "/doc"); next }
        target != "" && /test result: [a-zA-Z]+\. [0-9]+ passed; / {
            sub(/.*test result: /, "")
            passed[target] += $2; failed[target] += $4; ignored[target] += $6; unheard[target] = 0
        }
        END {
            for (i = 1; i <= targets; i++) {
                name = order[i]
                # A target that was started and never reported has crashed or was killed: one failure.
                print name, passed[name] + 0, failed[name] + unheard[name], ignored[name] + 0
            }
        }' "$logs/$stage.log"
}

# The same for tests of the web client, from the report of vitest that is named after its target.
count_vitest() {
    local report
    for report in "$logs/$stage".*.json; do
        node -e '
            const { numPassedTests, numFailedTests, numPendingTests, numTodoTests } = require(process.argv[1]);
            const target = process.argv[1].split(".").at(-2);
            console.log(target, numPassedTests, numFailedTests, numPendingTests + numTodoTests);
        ' "$report"
    done
}

# The floor of the target $1; empty if it has none.
floor_of() { awk -v stage="$stage" -v name="$1" '$1 == stage && $2 == name { print $3 }' tests/floors; }

# Fails if the number of tests that ran, well or badly, is not what tests/floors demands. $1 counts them, if they are not
# tests of cargo. Keeps two files: STAGE.targets
# with `TARGET PASSED FAILED IGNORED FLOOR` for the summary (`!` marks a floor that is not kept), and STAGE.digest with
# what a reader must see of a long log.
check_floors() {
    local name passed failed ignored floor seen=' '
    local targets=$logs/$stage.targets digest=$logs/$stage.digest
    "${1:-count_tests}" >"$logs/$stage.counts"
    : >"$targets"
    {
        awk '/^failures:$/ { on = 1 } on { print } /^test result: FAILED/ { on = 0 }' "$logs/$stage.log" | tail -n 120
        grep -E '^(error|  process did)' "$logs/$stage.log" || true
        while read -r name passed failed ignored; do
            seen+="$name "
            floor=$(floor_of "$name")
            if [[ ! $floor =~ ^[0-9]+$ ]]; then
                echo "target $name has no floor: add the line \"$stage $name $passed\" to tests/floors"
                floor=none!
            elif ((passed + failed < floor)); then
                echo "target $name ran $((passed + failed)) tests, its floor is $floor: bring them back, or lower it in tests/floors and say why"
                floor=$floor!
            fi
            echo "$name $passed $failed $ignored $floor" >>"$targets"
        done <"$logs/$stage.counts"
        while read -r name floor; do
            if [[ $seen != *" $name "* ]]; then
                echo "target $name has a floor but did not run: bring it back, or remove its line from tests/floors"
                echo "$name 0 0 0 $floor!" >>"$targets"
            fi
        done < <(awk -v stage="$stage" '$1 == stage { print $2, $3 }' tests/floors)
    } >"$digest"
    ! grep -q '!$' "$targets"
}
