{{/* The model server's container, the same in a Deployment, an InferenceService and a ServingRuntime.
     Its name is the one by which KServe knows the model server. */}}
{{- define "graildient.servingContainer" -}}
{{- $mounts := list -}}
{{- if and .Values.development.liveCode (not .Values.serving.kserve.enabled) -}}
{{- $mounts = list (dict "name" "code" "mountPath" "/app") -}}
{{- end -}}
{{ include "graildient.container" (dict "root" . "name" "kserve-container" "image" "server" "resources" .Values.serving.resources "command" (list "graildient" "serve") "mounts" $mounts) }}
ports:
  # REST comes first: KServe's Service leads to the first port.
  - name: http
    containerPort: {{ .Values.config.serving.httpPort }}
    protocol: TCP
  - name: grpc
    containerPort: {{ .Values.config.serving.grpcPort }}
    protocol: TCP
startupProbe:
  httpGet:
    path: /v2/health/live
    port: http
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 90
readinessProbe:
  httpGet:
    path: /v2/health/ready
    port: http
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
livenessProbe:
  httpGet:
    path: /v2/health/live
    port: http
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
lifecycle:
  preStop:
    sleep:
      seconds: {{ .Values.serving.preStopSeconds }}
{{- end -}}

{{/* Fields of the serving pod beside its containers, in a Deployment as in an InferenceService. */}}
{{- define "graildient.servingPod" -}}
{{ include "graildient.podCommon" . }}
{{- $needed := add .Values.serving.preStopSeconds .Values.config.serving.drainSeconds }}
{{- if le (int .Values.serving.terminationGracePeriodSeconds) (int $needed) }}
{{- fail (printf "serving.terminationGracePeriodSeconds: %v is not more than serving.preStopSeconds and config.serving.drainSeconds together (%v): requests under way would be cut off" .Values.serving.terminationGracePeriodSeconds $needed) }}
{{- end }}
terminationGracePeriodSeconds: {{ .Values.serving.terminationGracePeriodSeconds }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "graildient.selectorLabels" (dict "root" . "component" "serving") | nindent 8 }}
{{- end -}}

{{/* A pod more before a pod less. */}}
{{- define "graildient.servingStrategy" -}}
type: RollingUpdate
rollingUpdate:
  maxUnavailable: 0
  maxSurge: 1
{{- end -}}
