"""A Ray cluster of two nodes on the loopback interface, for as long as stdin is open.

Prints the address of its head. A line on stdin ends the second node, as of a machine that loses its
power.
"""

import os
import sys

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1"}

from ray.cluster_utils import Cluster

# 127.0.0.1 would be replaced by an address that others can reach.
NODE = {
    "num_cpus": 1,
    "node_ip_address": "127.0.0.2",
    "object_store_memory": 80 * 2**20,
    "include_dashboard": False,
}


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    nodes = [cluster.add_node(**NODE)]
    cluster.wait_for_nodes()
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        cluster.remove_node(nodes.pop(), allow_graceful=False)
    cluster.shutdown()


if __name__ == "__main__":
    main()
