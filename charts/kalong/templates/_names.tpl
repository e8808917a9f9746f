{{- define "kalong.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Cluster-wide names carry the release's name, so that several operators can live in one cluster. */}}
{{- define "kalong.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "kalong.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "kalong.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "kalong.selector" -}}
app.kubernetes.io/name: {{ include "kalong.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "kalong.labels" -}}
{{ include "kalong.selector" . }}
app.kubernetes.io/part-of: kalong
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "kalong.serviceAccount" -}}
{{- default (printf "%s-operator" (include "kalong.fullname" .)) .Values.serviceAccount.name }}
{{- end }}

{{- define "kalong.subjects" -}}
- kind: ServiceAccount
  name: {{ include "kalong.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- define "kalong.agentsService" -}}
{{- printf "%s-agents.%s.svc" (include "kalong.fullname" .) .Release.Namespace }}
{{- end }}

{{- define "kalong.agentsHost" -}}
{{- default (include "kalong.agentsService" .) .Values.agents.host }}
{{- end }}

{{- define "kalong.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}
