{{- define "parley-operator.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "parley-operator.selector" -}}
app.kubernetes.io/name: parley-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "parley-operator.labels" -}}
{{ include "parley-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* What the operator may do in a namespace that it looks after. */}}
{{- define "parley-operator.rules" -}}
# Reads what is asked for.
- apiGroups: [parley.dev]
  resources: [chatclusters]
  verbs: [list, watch]
# Says what came of it.
- apiGroups: [parley.dev]
  resources: [chatclusters/status]
  verbs: [patch]
# Where owner references are checked: its children hold up the deletion of their ChatCluster.
- apiGroups: [parley.dev]
  resources: [chatclusters/finalizers]
  verbs: [update]
# Children: seen by watches, made and corrected by apply, removed when a feature is switched off.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
# Reads those that a ChatCluster names; watches the metadata of all, to see those change; makes and removes the
# credentials of a managed Valkey.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
# Enlarges the volume of a managed Valkey.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, patch]
# Counts instances that are ready or drain, and learns where to ask for their sessions.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Tells of transitions.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
# Only where a ChatCluster asks for it and the kind is there; watched from the first on.
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
