{{/* Names and meanings are the operator's settings, see docs/rbac.md. */}}
{{- define "metricwatch.operatorEnvironment" -}}
{{- $tag := .Chart.AppVersion -}}
- name: METRICWATCH_POD_NAMESPACE
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
- name: METRICWATCH_LOG_LEVEL
  value: {{ .Values.operator.logLevel }}
- name: METRICWATCH_SCORE_RETENTION_DAYS
  value: {{ .Values.detector.scoreRetentionDays | quote }}
- name: METRICWATCH_CONCURRENT_TRAININGS
  value: {{ .Values.trainer.concurrentTrainings | quote }}
{{- $source := dict }}
{{- if or .Values.defaultSource.url (eq .Values.defaultSource.type "simulation") }}
{{- range $name, $value := .Values.defaultSource }}
{{- if $value }}{{ $_ := set $source $name $value }}{{ end }}
{{- end }}
{{- end }}
{{- $optional := dict
      "NAMESPACES" (join "," .Values.watchNamespaces)
      "IMAGE_PULL_SECRETS" (join "," .Values.images.pullSecrets)
      "DATABASE_SECRET" .Values.database.existingSecretName
      "DEFAULT_SOURCE" (toJson $source)
      "ALLOWED_SOURCE_HOSTS" (join "," (dig "allowedHosts" list (default dict .Values.sources)))
      "TRAINER_RESOURCES" (toJson .Values.trainer.resources)
      "DETECTOR_RESOURCES" (toJson .Values.detector.resources)
      "NODE_SELECTOR" (toJson .Values.children.nodeSelector)
      "TOLERATIONS" (toJson .Values.children.tolerations)
      "PRIORITY_CLASS_NAME" .Values.children.priorityClassName }}
{{- range $name, $value := $optional }}
{{- if not (has $value (list "" "{}" "[]")) }}
- name: METRICWATCH_{{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- with .Values.operator.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
