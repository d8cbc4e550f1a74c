{{/* What the schema cannot say in words: a value that has the right type and cannot be meant. All at once. */}}
{{- define "metricwatch.validate" -}}
{{- $problems := concat
      (include "metricwatch.wrongValues" . | fromJsonArray)
      (include "metricwatch.wrongDatabase" . | fromJsonArray)
      (include "metricwatch.wrongPolicies" . | fromJsonArray) -}}
{{- if $problems -}}
{{- fail (printf "these values cannot be used:\n- %s" (join "\n- " $problems)) -}}
{{- end -}}
{{- end -}}

{{/* Pairs of name and value, an expression for the value, and what to write instead. */}}
{{- define "metricwatch.wrongValues" -}}
{{- $values := .Values -}}
{{- $problems := list -}}
{{- $digests := dict "images.operator.digest" $values.images.operator.digest "images.trainer.digest" $values.images.trainer.digest
      "images.detector.digest" $values.images.detector.digest "postgresql.image.digest" $values.postgresql.image.digest -}}
{{- $tags := dict "images.operator.tag" $values.images.operator.tag "images.trainer.tag" $values.images.trainer.tag
      "images.detector.tag" $values.images.detector.tag "postgresql.image.tag" $values.postgresql.image.tag -}}
{{- $intervals := dict "monitoring.podMonitor.interval" $values.monitoring.podMonitor.interval
      "monitoring.vmPodScrape.interval" $values.monitoring.vmPodScrape.interval -}}
{{- $names := dict "nameOverride" $values.nameOverride "fullnameOverride" $values.fullnameOverride "serviceAccount.name" $values.serviceAccount.name
      "defaultSource.authRef.name" (dig "name" "" $values.defaultSource.authRef)
      "operator.priorityClassName" $values.operator.priorityClassName "children.priorityClassName" $values.children.priorityClassName
      "postgresql.priorityClassName" $values.postgresql.priorityClassName
      "rules.configMap.namespace" $values.rules.configMap.namespace
      "dashboards.namespace" (dig "namespace" "" (default dict $values.dashboards))
      "database.urlSecret.name" $values.database.urlSecret.name
      "database.existingSecretName" $values.database.existingSecretName
      "database.caSecret.name" (dig "caSecret" "name" "" $values.database)
      "database.clientCertificateSecret.name" (dig "clientCertificateSecret" "name" "" $values.database) -}}
{{- $lists := dict "watchNamespaces" $values.watchNamespaces "images.pullSecrets" $values.images.pullSecrets
      "networkPolicy.namespaces" (dig "namespaces" list $values.networkPolicy) -}}
{{- range $list, $items := $lists -}}
{{- range $item := $items -}}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" $item) -}}
{{- $problems = append $problems (printf "%s: %q is no name that Kubernetes accepts: small letters, digits and dashes" $list $item) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $checks := list
      (list (dict "defaultSource.url" $values.defaultSource.url) "^https?://.+" "an address like http://prometheus.monitoring:9090, with http:// or https://")
      (list (dict "rules.runbookBaseUrl" $values.rules.runbookBaseUrl) "^https?://.+" "an address like https://metricwatch.io/runbooks")
      (list (dict "postgresql.password" $values.postgresql.password) "^[A-Za-z0-9._~-]{8,}$" "eight or more of letters, digits and . _ ~ -, which need no escaping in a URL")
      (list $names "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" "a name that Kubernetes accepts: small letters, digits and dashes")
      (list $digests "^sha256:[0-9a-f]{64}$" "sha256: and 64 digits from 0 to f, as your registry shows them")
      (list $tags "^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$" "an image's tag alone; the repository has a value of its own")
      (list $intervals "^([0-9]+(ms|s|m|h))+$" "a duration like 15s") -}}
{{- range $check := $checks -}}
{{- range $name, $value := index $check 0 -}}
{{- if and $value (not (regexMatch (index $check 1) $value)) -}}
{{- $shown := ternary "what is given" (printf "%q" $value) (eq $name "postgresql.password") -}}
{{- $problems = append $problems (printf "%s: %s is not %s" $name $shown (index $check 2)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "metricwatch.wrongDatabase" -}}
{{- $problems := list -}}
{{- $own := .Values.database.urlSecret.name -}}
{{- $certificates := or (dig "caSecret" "name" "" .Values.database) (dig "clientCertificateSecret" "name" "" .Values.database) -}}
{{- if and .Values.postgresql.enabled $own -}}
{{- $problems = append $problems "postgresql.enabled and database.urlSecret.name are both set: choose the embedded PostgreSQL or your own" -}}
{{- end -}}
{{- if not (or .Values.postgresql.enabled $own) -}}
{{- $problems = append $problems "no database: set database.urlSecret.name to a Secret that holds a PostgreSQL URL, or postgresql.enabled=true to try things out" -}}
{{- end -}}
{{- if and .Values.postgresql.enabled $certificates -}}
{{- $problems = append $problems "database.caSecret and database.clientCertificateSecret are for your own PostgreSQL: the embedded one has no certificate" -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "metricwatch.wrongPolicies" -}}
{{- $problems := list -}}
{{- if and .Values.networkPolicy.enabled (dig "egress" "enabled" false .Values.networkPolicy) -}}
{{- $source := .Values.networkPolicy.egress.source -}}
{{- if not (or $source.to $source.ports .Values.defaultSource.url) -}}
{{- $problems = append $problems "networkPolicy.egress.source: say with `to` or `ports` where the metrics are, because there is no defaultSource.url to tell the port from" -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}
