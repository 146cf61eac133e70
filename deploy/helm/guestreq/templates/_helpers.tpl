{{/* The name of the objects. */}}
{{- define "guestreq.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Two releases may share a namespace, for nodes of two kinds. */}}
{{- define "guestreq.selectorLabels" -}}
app.kubernetes.io/name: guestreq
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "guestreq.labels" -}}
{{ include "guestreq.selectorLabels" . }}
app.kubernetes.io/part-of: guestreq
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "guestreq.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "guestreq.serviceAccountName" -}}
{{- $own := .Values.serviceAccount.create | ternary (include "guestreq.fullname" .) "default" -}}
{{- .Values.serviceAccount.name | default $own -}}
{{- end -}}

{{- define "guestreq.detachName" -}}
{{ include "guestreq.fullname" . }}-detach
{{- end -}}
