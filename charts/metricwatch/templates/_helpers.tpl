{{- define "metricwatch.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 46 characters leave room for the suffixes of Jobs and pods. */}}
{{- define "metricwatch.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 46 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "metricwatch.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 46 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 46 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Arguments: context, component. */}}
{{- define "metricwatch.selectorLabels" -}}
app.kubernetes.io/name: {{ include "metricwatch.name" .context }}
app.kubernetes.io/instance: {{ .context.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "metricwatch.labels" -}}
{{ include "metricwatch.selectorLabels" . }}
app.kubernetes.io/part-of: metricwatch
app.kubernetes.io/version: {{ .context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .context.Chart.Name .context.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .context.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Arguments: context, image, and the registry and tag used where the image names none. */}}
{{- define "metricwatch.image" -}}
{{- $registry := default .registry .image.registry -}}
{{- if $registry }}{{ trimSuffix "/" $registry }}/{{ end }}{{ .image.repository -}}
{{- if .image.digest -}}
@{{ .image.digest }}
{{- else -}}
:{{ default .tag .image.tag }}
{{- end -}}
{{- end -}}

{{- define "metricwatch.operatorImage" -}}
{{- include "metricwatch.image" (dict "image" .Values.images.operator "registry" .Values.images.registry "tag" .Chart.AppVersion) -}}
{{- end -}}

{{- define "metricwatch.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "metricwatch.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "metricwatch.postgresqlName" -}}
{{ include "metricwatch.fullname" . }}-postgresql
{{- end -}}

{{/* URL and certificates in one directory: what lies beside the URL is used with it. */}}
{{- define "metricwatch.databaseVolume" -}}
{{- $authority := dig "caSecret" dict .Values.database -}}
{{- $certificate := dig "clientCertificateSecret" dict .Values.database -}}
- name: database
  projected:
    sources:
      {{- if .Values.postgresql.enabled }}
      - secret:
          name: {{ include "metricwatch.postgresqlName" . }}
          items: [{key: url, path: url}]
      {{- else }}
      - secret:
          name: {{ .Values.database.urlSecret.name }}
          items: [{key: {{ .Values.database.urlSecret.key }}, path: url}]
      {{- end }}
      {{- if $authority.name }}
      - secret:
          name: {{ $authority.name }}
          items: [{key: {{ $authority.key }}, path: ca.crt}]
      {{- end }}
      {{- if $certificate.name }}
      - secret:
          name: {{ $certificate.name }}
          items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]
      {{- end }}
{{- end -}}

{{/* Your own database is there before the release: it is migrated first. The embedded one is part of the release: it is
     migrated afterwards. The operator is ready without a schema and waits for it, so neither order can lock up. */}}
{{- define "metricwatch.migrationHook" -}}
{{- ternary "post-install,post-upgrade" "pre-install,pre-upgrade" .Values.postgresql.enabled -}}
{{- end -}}

{{/* What the restricted Pod Security Standard asks of a container, and a read-only root file system. */}}
{{- define "metricwatch.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "metricwatch.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The alert rules with the runbooks' address and the user's labels filled in. */}}
{{- define "metricwatch.rules" -}}
{{- $labels := .Values.rules.alertLabels -}}
{{- $text := .Files.Get "files/rules.yaml" | replace "RUNBOOKS" (trimSuffix "/" .Values.rules.runbookBaseUrl) -}}
{{- $rules := fromYaml $text -}}
{{- range $group := $rules.groups -}}
{{- range $rule := $group.rules -}}
{{- $_ := set $rule "labels" (merge (deepCopy $labels) (default dict $rule.labels)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}
