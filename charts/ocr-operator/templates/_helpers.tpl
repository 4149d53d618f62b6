{{- define "ocr-operator.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "ocr-operator.selector" -}}
app.kubernetes.io/name: ocr-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ocr-operator.labels" -}}
{{ include "ocr-operator.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "ocr-operator.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "ocr-operator.name" .) -}}
{{- end }}

{{/* A reference to an image: registry, repository, and the digest or the tag. Called with a list: values, image. */}}
{{- define "ocr-operator.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $name := $image.repository -}}
{{- with $root.Values.image.registry }}{{ $name = printf "%s/%s" (trimSuffix "/" .) $name }}{{ end -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $name $image.digest }}
{{- else -}}
{{ printf "%s:%s" $name ($image.tag | default $root.Chart.AppVersion) }}
{{- end -}}
{{- end }}

{{/*
What the operator may do with pools and what they are made of: only what it does. It creates by `patch` (server-side
apply), for which the API server asks for `create` too; `get` is for objects that lack the operator's label and so are in
no watch.
*/}}
{{- define "ocr-operator.rules" -}}
- apiGroups: [ocrpool.dev]
  resources: [ocrpools]
  verbs: [list, watch]
- apiGroups: [ocrpool.dev]
  resources: [ocrpools/status]
  verbs: [patch]
{{- if .Values.rbac.finalizers }}
- apiGroups: [ocrpool.dev]
  resources: [ocrpools/finalizers]
  verbs: [update]
{{- end }}
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [get, list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
