{{/* Values that contradict each other, in one line: which, and what to set. values.schema.json has the rest. */}}
{{- define "guestreq.checks" -}}
{{- include "guestreq.checks.image" . -}}
{{- include "guestreq.checks.config" . -}}
{{- include "guestreq.checks.pod" . -}}
{{- with lookup "apps/v1" "DaemonSet" .Release.Namespace (include "guestreq.detachName" .) -}}
{{- if $.Release.IsInstall -}}
{{- fail (printf "DaemonSet %s of an earlier uninstall still exists: `kubectl -n %s delete daemonset %s`, then install again" .metadata.name .metadata.namespace .metadata.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "guestreq.checks.image" -}}
{{- with .Values.image -}}
{{- if not .repository -}}
{{- fail "image.repository: set it to the image in your registry, such as registry.your.org/guestreq (docs/install.md#the-image)" -}}
{{- end -}}
{{- if or (contains "@" .repository) (contains ":" (base .repository)) -}}
{{- fail (printf "image.repository: %s has a tag or digest: set image.tag or image.digest instead" .repository) -}}
{{- end -}}
{{- if and .tag .digest -}}
{{- fail (printf "image.tag and image.digest: %s and %s exclude each other: set one of them" .tag .digest) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "guestreq.checks.config" -}}
{{- $config := fromToml .Values.config -}}
{{- with $config.Error -}}
{{- fail (printf "config: this is not TOML: %s" (. | replace "\n" " ")) -}}
{{- end -}}
{{- if $config.listen -}}
{{- fail "config: its `listen` has no effect in a pod: set the chart's value `listen`" -}}
{{- end -}}
{{- if $config.order -}}
{{- fail "config: `order` needs CAP_SYS_ADMIN, which the pod does not have: set the gate's option `depth` on the nodes (docs/order.md#switching-it-off)" -}}
{{- end -}}
{{- range $key := list "backend" "mode" "socket" "state" "nfd_file" -}}
{{- if and (hasKey $config $key) (not (kindIs "string" (get $config $key))) -}}
{{- fail (printf "config: `%s` must be text in quotes" $key) -}}
{{- end -}}
{{- end -}}
{{- range $rule := ternary ($config.vm | default list) (list "") (kindIs "slice" ($config.vm | default list)) -}}
{{- if not (kindIs "map" $rule) -}}
{{- fail "config: `vm` must be a list of rules, each under [[vm]] (docs/policy.md)" -}}
{{- end -}}
{{- end -}}
{{- $paths := dict "socket" "/run/guestreq" "state" "/var/lib/guestreq" -}}
{{- range $key, $folder := $paths -}}
{{- $path := get $config $key -}}
{{- if and $path (ne $path $folder) (not (hasPrefix (printf "%s/" $folder) $path)) -}}
{{- fail (printf "config: `%s` is %s, which is no folder of the node: use %s or a path below it" $key $path $folder) -}}
{{- end -}}
{{- end -}}
{{- $features := "/etc/kubernetes/node-feature-discovery/features.d/" -}}
{{- with $config.nfd_file -}}
{{- if not (regexMatch (printf "^%s[^./][^/]*$" (regexQuoteMeta $features)) .) -}}
{{- fail (printf "config: `nfd_file` is %s, which is no file of the folder that nfd reads: use %sguestreq" . $features) -}}
{{- end -}}
{{- end -}}
{{- if eq ($config.backend | default "gate") "none" -}}
{{- range $rule := prepend ($config.vm | default list) $config -}}
{{- if eq ($rule.mode | default "") "enforce" -}}
{{- fail "config: `mode = \"enforce\"` and `backend = \"none\"` contradict each other: set backend to gate or vcpu, or mode to audit (docs/policy.md)" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $max_vms := int64 ($config.max_vms | default 1024) -}}
{{- $memory := dig "limits" "memory" "" (.Values.resources | default dict) -}}
{{- $bytes := include "guestreq.bytes" $memory | int64 -}}
{{- if and $bytes (lt $bytes (add 41943040 (mul 13000 $max_vms))) -}}
{{- fail (printf "config: `max_vms = %d` needs more than resources.limits.memory, %s: 40Mi, and about 13 kB for each" $max_vms (kindIs "string" $memory | ternary $memory (toString $bytes))) -}}
{{- end -}}
{{- end -}}

{{/* A quantity of memory in bytes; 0 if it is none, or one with a point. */}}
{{- define "guestreq.bytes" -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 -}}
{{- $text := kindIs "float64" . | ternary (printf "%d" (int64 .)) (toString .) -}}
{{- $number := regexFind "^[0-9]+" $text -}}
{{- mul (int64 $number) (get $units (trimPrefix $number $text) | default 0) -}}
{{- end -}}

{{- define "guestreq.checks.pod" -}}
{{- if regexMatch "^(127\\.|\\[(0{0,4}:)+0{0,3}1\\])" .Values.listen -}}
{{- fail (printf "listen: neither the kubelet's probes nor Prometheus reach %s: use 0.0.0.0:PORT or [::]:PORT" .Values.listen) -}}
{{- end -}}
{{- range $argument := .Values.extraArgs -}}
{{- range $own := list "--listen" "--stay" "--config" -}}
{{- if or (eq $argument $own) (hasPrefix (printf "%s=" $own) $argument) -}}
{{- fail (printf "extraArgs: %s is the chart's own: use its values `listen` and `config`" $own) -}}
{{- end -}}
{{- end -}}
{{- if contains " " $argument -}}
{{- fail (printf "extraArgs: %q is one argument: write an option and its value as two" $argument) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.serviceAccount.create (eq (include "guestreq.serviceAccountName" .) "default") -}}
{{- fail "serviceAccount: default exists in each namespace: set another name, or serviceAccount.create to false" -}}
{{- end -}}
{{- with .Values.seccompProfile -}}
{{- if and (eq .type "Localhost") (not .localhostProfile) -}}
{{- fail "seccompProfile.localhostProfile: type Localhost needs the profile's path below /var/lib/kubelet/seccomp, such as guestreq.json (examples/crio.yaml)" -}}
{{- end -}}
{{- if and (ne .type "Localhost") .localhostProfile -}}
{{- fail (printf "seccompProfile.localhostProfile: %s is used only with type Localhost, and type is %s: set one of them" .localhostProfile .type) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.from) -}}
{{- fail "networkPolicy.from: an empty list would admit everyone: name who may connect, or set networkPolicy.enabled to false" -}}
{{- end -}}
{{- range $label := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" -}}
{{- if hasKey ($.Values.podLabels | default dict) $label -}}
{{- fail (printf "podLabels: %s is the chart's own, which selectors use: choose another label" $label) -}}
{{- end -}}
{{- end -}}
{{- with .Values.kmm -}}
{{- if and .enabled .sign.enabled (not (and .sign.certSecret .sign.keySecret)) -}}
{{- fail "kmm.sign: it needs certSecret and keySecret: name both, or set kmm.sign.enabled to false" -}}
{{- end -}}
{{- if and .image (or (contains "@" .image) (contains ":" (base .image))) -}}
{{- fail (printf "kmm.image: %s has a tag or digest: leave it out, as each kernel's module has its own" .image) -}}
{{- end -}}
{{- if and .dockerfile .sourceImage -}}
{{- fail "kmm.dockerfile and kmm.sourceImage: a Dockerfile of your own names its source itself: set one of them" -}}
{{- end -}}
{{- end -}}
{{- end -}}
