{{/* The password of the embedded PostgreSQL: the one given, the one there is, or a new one. */}}
{{- define "metricwatch.postgresqlPassword" -}}
{{- $existing := lookup "v1" "Secret" .Release.Namespace (include "metricwatch.postgresqlName" .) -}}
{{- if .Values.postgresql.password -}}
{{- .Values.postgresql.password -}}
{{- else if $existing -}}
{{- index $existing.data "password" | b64dec -}}
{{- else -}}
{{- randAlphaNum 32 -}}
{{- end -}}
{{- end -}}
