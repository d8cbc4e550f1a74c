{{/* Names and meanings are the operator's settings. */}}
{{- define "metricwatch.operatorEnvironment" -}}
{{- $tag := .Chart.AppVersion -}}
- name: METRICWATCH_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: METRICWATCH_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: METRICWATCH_LEASE_NAME
  value: {{ include "metricwatch.fullname" . }}-operator
- name: METRICWATCH_DATABASE_URL_FILE
  value: /var/run/metricwatch/database/url
- name: METRICWATCH_TRAINER_IMAGE
  value: {{ include "metricwatch.image" (dict "image" .Values.images.trainer "registry" .Values.images.registry "tag" $tag) }}
- name: METRICWATCH_DETECTOR_IMAGE
  value: {{ include "metricwatch.image" (dict "image" .Values.images.detector "registry" .Values.images.registry "tag" $tag) }}
- name: METRICWATCH_IMAGE_PULL_POLICY
  value: {{ .Values.images.pullPolicy }}
{{- with .Values.images.pullSecrets }}
- name: METRICWATCH_IMAGE_PULL_SECRETS
  value: {{ join "," . }}
{{- end }}
- name: METRICWATCH_LOG_LEVEL
  value: {{ .Values.operator.logLevel }}
{{- with .Values.watchNamespaces }}
- name: METRICWATCH_WATCH_NAMESPACES
  value: {{ join "," . }}
{{- end }}
{{- if .Values.defaultSource.url }}
- name: METRICWATCH_DEFAULT_SOURCE
  value: {{ toJson .Values.defaultSource | quote }}
{{- end }}
{{- with .Values.database.existingSecretName }}
- name: METRICWATCH_DATABASE_SECRET
  value: {{ . }}
{{- end }}
{{- with .Values.operator.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
