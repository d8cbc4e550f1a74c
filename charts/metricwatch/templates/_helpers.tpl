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

{{/* The Secret that holds the database URL, as name and key. */}}
{{- define "metricwatch.databaseSecret" -}}
{{- if .Values.postgresql.enabled -}}
{{- if .Values.database.urlSecret.name -}}
{{- fail "postgresql.enabled and database.urlSecret.name are both set: choose the embedded PostgreSQL or your own" -}}
{{- end -}}
name: {{ include "metricwatch.postgresqlName" . }}
key: url
{{- else -}}
{{- if not .Values.database.urlSecret.name -}}
{{- fail "no database: set database.urlSecret.name to a Secret that holds a PostgreSQL URL, or postgresql.enabled=true to try things out" -}}
{{- end -}}
name: {{ .Values.database.urlSecret.name }}
key: {{ .Values.database.urlSecret.key }}
{{- end -}}
{{- end -}}

{{- define "metricwatch.databaseVolume" -}}
{{- $secret := include "metricwatch.databaseSecret" . | fromYaml -}}
- name: database
  secret:
    secretName: {{ $secret.name }}
    items:
      - key: {{ $secret.key }}
        path: url
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
