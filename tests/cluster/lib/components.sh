# shellcheck shell=bash
# Sourced after common.sh: the programs of the cluster, their command lines, and how to start, ask and stop one.

# The components of the size $1, in the order they start.
components_of() {
    echo etcd kube-apiserver kube-controller-manager kube-scheduler
    if [ "$1" = node ]; then echo containerd kubelet; fi
    echo kube-proxy kwok coredns
}

# Sets COMMAND to the command line of component $1.
command_of() {
    local etc=$STATE/etc pki=$STATE/pki stage
    COMMAND=("$PROGRAMS/$1")
    case $1 in
        etcd)
            COMMAND+=(--data-dir="$STATE/lib/etcd" --listen-client-urls=http://127.0.0.1:2379
                --advertise-client-urls=http://127.0.0.1:2379 --listen-peer-urls=http://127.0.0.1:2380)
            # Ten times the writes on a slow disk, and what is lost when the machine dies is a test.
            if [ "$ETCD_FSYNC" != 1 ]; then COMMAND+=(--unsafe-no-fsync); fi
            ;;
        kube-apiserver)
            # shellcheck disable=SC2054 # the comma belongs to the value
            COMMAND+=(--etcd-servers=http://127.0.0.1:2379 --secure-port=6443 --advertise-address="$NODE_ADDRESS"
                --service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true
                --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction
                --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key"
                --kubelet-client-certificate="$pki/apiserver-client.crt" --kubelet-client-key="$pki/apiserver-client.key"
                --kubelet-preferred-address-types=InternalIP
                --requestheader-client-ca-file="$pki/ca.crt" --requestheader-allowed-names=aggregator
                --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group
                --requestheader-extra-headers-prefix=X-Remote-Extra-
                --proxy-client-cert-file="$pki/aggregator.crt" --proxy-client-key-file="$pki/aggregator.key"
                --service-account-issuer=https://kubernetes.default.svc.cluster.local
                --service-account-key-file="$pki/service-accounts.key"
                --service-account-signing-key-file="$pki/service-accounts.key"
                --audit-policy-file="$etc/audit.yaml" --audit-log-path="$STATE/audit.log"
                # One file, however long: tests remember a place in it.
                --audit-log-maxsize=0)
            ;;
        kube-controller-manager)
            COMMAND+=(--kubeconfig="$etc/$1.kubeconfig" --authentication-kubeconfig="$etc/$1.kubeconfig"
                --authorization-kubeconfig="$etc/$1.kubeconfig" --use-service-account-credentials
                --service-account-private-key-file="$pki/service-accounts.key" --root-ca-file="$pki/ca.crt"
                --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key"
                --flex-volume-plugin-dir="$STATE/lib/volume-plugins" --leader-elect=false)
            ;;
        kube-scheduler)
            COMMAND+=(--config="$etc/$1.yaml" --authentication-kubeconfig="$etc/$1.kubeconfig"
                --authorization-kubeconfig="$etc/$1.kubeconfig")
            ;;
        containerd) COMMAND=(containerd --config "$etc/containerd.toml") ;;
        kubelet)
            COMMAND+=(--config="$etc/kubelet.yaml" --kubeconfig="$etc/kubelet.kubeconfig" --hostname-override=node-0
                --node-ip="$NODE_ADDRESS" --root-dir="$STATE/lib/kubelet" --cert-dir="$STATE/lib/kubelet-pki")
            ;;
        kube-proxy) COMMAND+=(--config="$etc/$1.yaml") ;;
        kwok)
            COMMAND+=(--kubeconfig="$etc/kwok.kubeconfig" --manage-all-nodes=false
                --manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake --cidr=10.245.0.0/16
                --node-ip="$NODE_ADDRESS" --node-lease-duration-seconds=40 --server-address=127.0.0.1:10247
                --config="$PROGRAMS/stages.yaml")
            for stage in "$SOURCES"/stages/*.yaml; do
                if [ -f "$stage" ]; then COMMAND+=(--config="$stage"); fi
            done
            ;;
        coredns) COMMAND+=(-conf "$etc/Corefile") ;;
        *) die "no such component: $1 (there are: $(components_of node | tr '\n' ' '))" ;;
    esac
}

log_of() { echo "$STATE/log/$1.log"; }

start_component() {
    local COMMAND
    command_of "$1"
    # It becomes a child of PID 1 there, which is all that keeps it: nothing of it is on the host but the log.
    # shellcheck disable=SC2016 # the inner shell expands them
    inside bash -c 'log=$1; shift; setsid "$@" </dev/null >>"$log" 2>&1 & echo $!' - "$(log_of "$1")" "${COMMAND[@]}" \
        >"$STATE/run/$1.pid"
}

# The id of component $1 inside the PID namespace; false if it does not run. /proc in there is read from here.
pid_of() {
    local pid name
    pid=$(cat "$STATE/run/$1.pid" 2>/dev/null) && [ -n "$pid" ] || return
    # The id may have gone to another process, and what has ended but is not buried has no command line.
    { read -r -d '' name <"/proc/$INIT/root/proc/$pid/cmdline"; } 2>/dev/null || return
    [ "${name##*/}" = "$1" ] || return
    echo "$pid"
}

memory_of() { awk '/^VmRSS/ {printf "%d MB\n", $2 / 1024}' "/proc/$INIT/root/proc/$1/status"; }

# True if component $1 says that it is well.
is_healthy() {
    local url
    case $1 in
        etcd) url=http://127.0.0.1:2379/health ;;
        kube-controller-manager) url=https://127.0.0.1:10257/healthz ;;
        kube-scheduler) url=https://127.0.0.1:10259/healthz ;;
        kubelet) url=http://127.0.0.1:10248/healthz ;;
        kube-proxy) url=http://127.0.0.1:10256/livez ;;
        kwok) url=http://127.0.0.1:10247/healthz ;;
        coredns) url=http://$NODE_ADDRESS:8181/ready ;;
        kube-apiserver)
            kube get --raw=/readyz --request-timeout=5s >/dev/null 2>&1
            return
            ;;
        containerd)
            inside timeout 5 ctr version >/dev/null 2>&1
            return
            ;;
    esac
    # Their certificates are their own; kubectl would ask for a name and a password. busybox crashes on a limit of its own (-T).
    inside timeout 5 busybox wget -q -O /dev/null --no-check-certificate "$url" 2>/dev/null
}

# Says why component $1 is to blame, with the end of its log, and ends the script.
blame() {
    {
        echo "error: $1 $2; the end of its log:"
        tail -n 20 "$(log_of "$1")" | cut -c 1-300 | sed 's/^/    /'
        echo "all of it: $(log_of "$1")"
    } >&2
    exit 1
}

# wait_for COMPONENT SECONDS WHAT COMMAND...: until the command succeeds. If a component ends meanwhile there is nothing to
# wait for.
wait_for() {
    local component=$1 limit=$2 what=$3 deadline=$((SECONDS + $2)) other
    shift 3
    until "$@" >/dev/null 2>&1; do
        for other in "$STATE"/run/*.pid; do
            other=$(basename "$other" .pid)
            pid_of "$other" >/dev/null || blame "$other" "has ended"
        done
        if ((SECONDS >= deadline)); then blame "$component" "has not come to this within $limit s: $what"; fi
        sleep 0.1
    done
}

# stop_components SECONDS NAME...: asks them to end, all at once, and ends those that have not within the seconds; 0: without
# asking.
stop_components() {
    local deadline=$((SECONDS + $1)) signal=TERM name pid pids=()
    if (($1 == 0)); then signal=KILL; fi
    shift
    for name in "$@"; do
        pid=$(pid_of "$name") && pids+=("$pid")
        # From here on it is no longer a component that should run (wait_for, status.sh).
        rm -f "$STATE/run/$name.pid"
    done
    if ((${#pids[@]} == 0)); then return; fi
    inside kill -s "$signal" "${pids[@]}" 2>/dev/null || true
    for pid in "${pids[@]}"; do
        # Until PID 1 has buried it: before that, one without a command line may still hold its ports.
        while [ -e "/proc/$INIT/root/proc/$pid" ]; do
            if ((SECONDS >= deadline)); then inside kill -KILL "$pid" 2>/dev/null || true; fi
            sleep 0.05
        done
    done
}
