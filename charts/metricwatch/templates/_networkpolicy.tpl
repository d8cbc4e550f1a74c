{{/* One egress rule. Arguments: to, ports, protocols. */}}
{{- define "metricwatch.egressRule" -}}
{{- $arguments := . -}}
- ports:
  {{- range $port := .ports }}
  {{- range $arguments.protocols }}
    - {port: {{ $port }}, protocol: {{ . }}}
  {{- end }}
  {{- else }} []
  {{- end }}
  {{- with .to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* What every pod of ours connects to: DNS and PostgreSQL. */}}
{{- define "metricwatch.egressOfAll" -}}
{{- $egress := .Values.networkPolicy.egress -}}
{{- $embedded := list (dict
      "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" .Release.Namespace))
      "podSelector" (dict "matchLabels" (include "metricwatch.selectorLabels" (dict "context" . "component" "postgresql") | fromYaml))) -}}
{{- $database := $egress.postgresql.to -}}
{{- if and .Values.postgresql.enabled (not $database) }}{{ $database = $embedded }}{{ end -}}
{{ include "metricwatch.egressRule" (dict "to" $egress.dns.to "ports" $egress.dns.ports "protocols" (list "UDP" "TCP")) }}
{{ include "metricwatch.egressRule" (dict "to" $database "ports" $egress.postgresql.ports "protocols" (list "TCP")) }}
{{- end -}}

{{/* Where trainers and detectors read metrics; the default source tells its port. */}}
{{- define "metricwatch.egressOfReaders" -}}
{{- $source := .Values.networkPolicy.egress.source -}}
{{- $ports := $source.ports -}}
{{- if not (or $source.to $ports) -}}
{{- $url := urlParse .Values.defaultSource.url -}}
{{- $named := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $ports = list (int (default (ternary 443 80 (eq $url.scheme "https")) $named)) -}}
{{- end -}}
{{ include "metricwatch.egressOfAll" . }}
{{ include "metricwatch.egressRule" (dict "to" $source.to "ports" $ports "protocols" (list "TCP")) }}
{{- end -}}

{{/* Who may ask for /metrics. */}}
{{- define "metricwatch.ingressOfScrapers" -}}
- ports:
    - {port: http, protocol: TCP}
  {{- with .Values.networkPolicy.metricsFrom }}
  from: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "metricwatch.restrictsEgress" -}}
{{- if dig "egress" "enabled" false .Values.networkPolicy }}yes{{ end -}}
{{- end -}}
