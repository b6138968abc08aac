#!/usr/bin/env python3
"""Enforces the NetworkPolicies of a namespace on a kind cluster, the current one, whose network ignores them.

Usage: enforce-policies.py NAMESPACE. It needs kubectl, kind and docker, says "enforced" once the policies of that moment are
in force, follows pods and policies, and takes everything back when its standard input ends.

What a policy means is as https://kubernetes.io/docs/concepts/services-networking/network-policies/ has it, but for what no
policy here uses: matchExpressions, except and endPort are refused. Replies and connections from a node (probes) always pass.
"""

import json
import select
import subprocess
import sys

(namespace,) = sys.argv[1:]
# Hooks that this program owns; what is not new was let in before.
CHAINS = {"Ingress": "PARLEY-INGRESS", "Egress": "PARLEY-EGRESS"}
NEW = ["-m", "conntrack", "--ctstate", "NEW"]


def run(*command, text=None):
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def objects(kind, *options):
    return json.loads(run("kubectl", "get", kind, "--output", "json", *options))["items"]


def selects(selector, labels):
    if unknown := set(selector) - {"matchLabels"}:
        sys.exit(f"{unknown} is more than this program knows")
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def labels(thing):
    return thing["metadata"].get("labels", {})


def home(thing):
    return thing["metadata"]["namespace"]


def addresses(peers, pods, namespaces):
    """Where a rule's peers are; None is anywhere."""
    if not peers:
        return [None]
    found = []
    for peer in peers:
        if unknown := set(peer) - {"namespaceSelector", "podSelector"}:
            sys.exit(f"{unknown} is more than this program knows")
        where = peer.get("namespaceSelector")
        for pod in pods:
            here = home(pod) == namespace if where is None else selects(where, namespaces.get(home(pod), {}))
            if here and selects(peer.get("podSelector", {}), labels(pod)):
                found.append(pod["status"]["podIP"])
    return found


def ports(given, pod):
    """The numbers behind a rule's ports, in the pod that they are of; None is any."""
    if not given:
        return [None]
    if any("endPort" in port for port in given):
        sys.exit("endPort is more than this program knows")
    named = {port.get("name"): port["containerPort"] for container in pod["spec"]["containers"] for port in container.get("ports", [])}
    return [named.get(port["port"], port["port"]) for port in given]


def is_on_the_network(pod):
    status = pod["status"]
    over = status.get("phase") in ("Succeeded", "Failed")
    return status.get("podIP") and not over and not pod["spec"].get("hostNetwork")


def rules():
    pods = [pod for pod in objects("pods", "--all-namespaces") if is_on_the_network(pod)]
    namespaces = {each["metadata"]["name"]: labels(each) for each in objects("namespaces")}
    policies = [policy["spec"] for policy in objects("networkpolicies", "--namespace", namespace)]
    lines = []
    for pod in (pod for pod in pods if home(pod) == namespace):
        for direction, own, other, list_of, peers in (("Ingress", "-d", "-s", "ingress", "from"), ("Egress", "-s", "-d", "egress", "to")):
            add = f"-A {CHAINS[direction]} {own} {pod['status']['podIP']}"
            mine = [spec for spec in policies if direction in spec["policyTypes"] and selects(spec["podSelector"], labels(pod))]
            for rule in (rule for spec in mine for rule in spec.get(list_of, [])):
                for address in addresses(rule.get(peers), pods, namespaces):
                    for port in ports(rule.get("ports"), pod):
                        to = f" -p tcp --dport {port}" if port else ""
                        lines.append(add + (f" {other} {address}" if address else "") + to + " -j RETURN")
            if mine:
                lines.append(add + " -j REJECT")
    return lines


def on_every_node(*command, text=None):
    cluster = run("kubectl", "config", "current-context").strip().removeprefix("kind-")
    for node in run("kind", "get", "nodes", "--name", cluster).split():
        run("docker", "exec", "--interactive", node, *command, text=text)


def main():
    before = None
    try:
        # Two looks a second, until nobody listens any more.
        while not select.select([sys.stdin], [], [], 0.5)[0]:
            try:
                now = rules()
            except subprocess.CalledProcessError as error:
                print(error.stderr, file=sys.stderr)
                continue
            if now == before:
                continue
            chains = "".join(f":{chain} - [0:0]\n" for chain in CHAINS.values())
            on_every_node("iptables-restore", "--wait", "--noflush", text=f"*filter\n{chains}" + "\n".join(now) + "\nCOMMIT\n")
            if before is None:
                for chain in CHAINS.values():
                    on_every_node("iptables", "--wait", "-I", "FORWARD", *NEW, "-j", chain)
                print("enforced", flush=True)
            before = now
    finally:
        if before is not None:
            for chain in CHAINS.values():
                for undo in (["-D", "FORWARD", *NEW, "-j", chain], ["-F", chain], ["-X", chain]):
                    on_every_node("iptables", "--wait", *undo)


main()
